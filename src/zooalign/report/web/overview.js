// Overview: the answer in words, and alignment beside the capability of the headline.
function answerBox() {
  return h("div", { class: "answer" }, report.answers.map((answer) => h("p", {}, answer)));
}

function better(capability) {
  return capability.higher_is_better ? "higher is better" : "lower is better";
}

function alignmentName(label, modality) {
  return `mean alignment with\n${modality ? `${OTHER[modality]} models` : "the other modality"} (${label})`;
}

function headlinePoints(dataset, capability) {
  const { metric, k, label } = report.headline;
  const values = valuesOf(capability.id);
  const means = meansOf(dataset, metric, k);
  const measured = models.filter((model) => values.has(model.id) && means[model.id] !== undefined);
  // A capability of both modalities: the answer is about the first one measured, too.
  return measured.filter((model) => model.modality === measured[0].modality).map((model) => {
    const value = values.get(model.id);
    return {
      model, x: value.value, y: means[model.id], error: value.standard_error,
      said: `${named(model)}\n${capability.id} ${shown(value.value)} ${capability.unit}\n${label} ${shown(means[model.id])}`,
    };
  });
}

const KINDS = ["released models", "interventions ‡", "random controls †"];
function kindOf(model) {
  return KINDS[model.control ? 2 : model.intervention ? 1 : 0];
}

function overview(main) {
  main.append(h("h1", {}, "Which models see the world alike, and does it grow with capability?"), answerBox());
  const capability = report.capabilities.find((c) => c.id === report.headline.capability) ?? report.capabilities[0];
  for (const dataset of report.datasets) {
    const points = capability ? headlinePoints(dataset.id, capability) : [];
    main.append(h("h2", {}, capability ? `Alignment and ${capability.id} on ${dataset.id}` : dataset.id));
    if (!points.length) {
      main.append(h("p", {}, "No model has both a capability and a score with every partner."));
      continue;
    }
    const modality = points[0].model.modality;
    const released = models.filter((m) => m.modality === OTHER[modality] && !mark(m)).length;
    const { figure, draw } = chart(
      `Scatter of ${points.length} ${modality} models: ${capability.id} and alignment on ${dataset.id}`,
      `A point is a model: its mean alignment with the ${released} released ${OTHER[modality]} models. Open markers: random controls and interventions. Bars: one standard error. A click opens the model.`,
      `scatter_${dataset.id}`,
    );
    main.append(figure);
    draw(groupsOf(points, (p) => kindOf(p.model)), {
      height: 440,
      xaxis: { title: { text: plain(`${capability.id} (${capability.unit}; ${better(capability)})`) }, autorange: capability.higher_is_better ? true : "reversed" },
      yaxis: { title: { text: lines(alignmentName(report.headline.label, modality)) }, rangemode: "tozero" },
    }, {
      headings: ["model", "family", `${capability.id} (${capability.unit})`, "standard error", report.headline.label],
      rows: points.map((p) => [modelLink(p.model), p.model.family, p.x, p.error, p.y]),
    }, (point) => go("model", { id: point.customdata }));
  }
  main.append(h("h2", {}, "What was compared"),
    list([...Object.entries(report.settings), ["Models", counted()]]), h("p", { class: "soft" }, MARKS));
  if (report.missing.length) main.append(h("h2", {}, "What failed"), h("ul", {}, report.missing.map((said) => h("li", {}, said))));
}

function counted() {
  const of = (modality) => {
    const own = models.filter((m) => m.modality === modality);
    const kinds = [own.filter((m) => !mark(m)).length, own.filter((m) => m.control).length, own.filter((m) => m.intervention).length];
    return `${kinds[0]} released ${modality} models, ${kinds[1]} random controls, ${kinds[2]} interventions`;
  };
  return `${of("vision")}; ${of("language")}`;
}
