// Sensitivity: whether the order of models holds under other settings.
function sensitivityPage(main) {
  main.append(h("h1", {}, "Does the order of models depend on choices of the sweep?"));
  if (!report.sensitivity.length) {
    main.append(h("p", {}, report.no_sensitivity));
    return;
  }
  main.append(h("p", {}, "Each cell is the sweep with other settings on the same features. Kendall's tau compares the order of models with the one under the sweep's own settings; 1 is the same order."));
  for (const one of report.sensitivity) {
    const title = `${one.modality[0].toUpperCase()}${one.modality.slice(1)} models on ${one.dataset}`;
    main.append(h("h2", {}, title), h("div", { class: "answer" }, h("p", {}, `${one.sentence}.`)));
    const cells = [{ title: "the sweep", places: one.default, tau: 1, n: one.default.length }, ...one.cells];
    const order = one.default.map(([model]) => model);
    const { figure, draw } = chart(`Rank of ${one.modality} models in every cell`, "A line is a model: its rank by mean alignment under each choice of settings. Lines that do not cross keep their order.", `sensitivity_${one.dataset}_${one.modality}`);
    main.append(figure);
    draw(order.map((model, i) => {
      const ranks = cells.map((cell) => cell.places.find(([name]) => name === model)?.[2] ?? null);
      return {
        type: "scatter", mode: "lines+markers", name: plain(model), x: cells.map((_, c) => c), y: ranks,
        line: { color: PALETTE[i % PALETTE.length] }, marker: { size: 8, symbol: SYMBOLS[Math.floor(i / PALETTE.length) % SYMBOLS.length] },
        hovertext: cells.map((cell, c) => plain(`${model}, ${cell.title}: rank ${ranks[c] ?? "none"}`)), hoverinfo: "text",
      };
    }), {
      height: Math.max(340, 18 * order.length + 240), showlegend: order.length <= 20, legend: { orientation: "h", y: -0.3 },
      narrowest: 90 * cells.length,
      xaxis: { tickvals: cells.map((_, c) => c), ticktext: cells.map((cell) => lines(cell.title.length > 16 ? cell.title.replaceAll(" = ", " =\n") : cell.title)), tickangle: 0 },
      yaxis: { title: { text: "rank" }, autorange: "reversed", dtick: order.length > 20 ? 5 : 1 },
    }, {
      headings: ["settings", "tau", "models", "the same by theory as", "order, best first"],
      rows: cells.map((cell) => [cell.title, cell.tau, cell.n, cell.same_as ?? "", cell.places.map(([name, mean]) => `${name} (${shown(mean)})`).join(", ")]),
    });
  }
}
