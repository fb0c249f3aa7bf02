// Start: open the networks, run them once, show the page; and with #selftest write down what they give.

(async () => {
  try {
    const began = performance.now(), networks = await openNetworks();
    if (location.hash === "#selftest") {
      const outputs = await selftest(networks);
      document.getElementById("selftest").textContent = JSON.stringify(outputs.map(({ shape, data }, i) => (
        { label: networks[i].label, shape, type: data.constructor.name, bytes: base64Of(data) })));
    }
    start(networks);
    document.getElementById("app").hidden = false;
    tell("");
    document.documentElement.dataset.ready = (performance.now() - began).toFixed(0);
  } catch (error) {
    report(error);
  }
})();
