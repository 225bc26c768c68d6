// Methods, settings and errata; and the tables as files.
const METHODS = [
  ["Score", "Two models are compared on the same samples in the same order. Every layer of the one is scored against every layer of the other; the score of the pair is the highest."],
  ["Null", "The samples of one side are permuted, and the highest score of all layer pairs is taken under every permutation: the search for the best layers is in the null. p counts the permutations that reach the score; q adjusts p over all pairs (Benjamini and Hochberg)."],
  ["Calibrated score", "(score − threshold) / (highest possible − threshold), and 0 below the threshold that unpaired samples pass with probability alpha."],
  ["Interval", "The score is computed on random halves of the samples, the best layers searched in every half; the interval follows from their spread."],
  ["Mean alignment", "The mean of a model's scores with the released models of the other modality. A model that lacks one of them has no mean."],
  ["Trend", "Spearman's correlation of capability and mean alignment over the models of a population. Its interval takes families as wholes, because models of one family are not independent, and corrects for the measurement errors that are known."],
  ["Controls", "Models that were never trained show what architecture and input alone give; interventions show how alignment follows damage."],
];

function methodsPage(main) {
  main.append(h("h1", {}, "Methods, settings and errata"), h("h2", {}, "Methods"), list(METHODS),
    h("h2", {}, "Settings"), list(Object.entries(report.settings)),
    h("details", {}, h("summary", {}, "The whole configuration"), h("pre", { tabindex: "0" }, JSON.stringify(report.config, null, 2))),
    h("h2", {}, "Errata of the published results"),
    h("p", {}, "Where the published results or their code differ from what they say, as far as we could check."));
  for (const one of report.errata) main.append(h("h3", {}, one.about), list([["published", one.says], ["found", one.is]]));
  const data = report.provenance.filter((one) => one.rule === "build_dataset");
  main.append(h("h2", {}, "Data"), table("Datasets", ["dataset", "licences", "digest"], data.map((one) => [one.dataset, one.licence, (one.digest ?? "").slice(0, 16)])));
  const licences = models.map((m) => [modelLink(m), m.row.licence, m.row.homepage ?? ""]);
  main.append(h("h2", {}, "Licences of the models"), table("Licences of the models", ["model", "licence", "from"], licences));
}

function tablesPage(main) {
  main.append(h("h1", {}, "Tables"), h("p", {}, "Every table as CSV, out of this file. Lines that begin with # say what is in it: pandas.read_csv(path, comment=\"#\"). Parquet, Markdown and LaTeX lie beside this file in tables/."));
  const button = (name) => h("button", { type: "button", onclick: async () => save(`${name}.csv`, await text(`table-${name}`), "text/csv") }, `Save ${name}.csv`);
  const beside = (name) => [h("a", { href: `tables/${name}.csv` }, `tables/${name}.csv`), ", too large for this file: it lies beside it"];
  main.append(h("ul", {}, report.tables.map(({ name, held }) => h("li", {}, held ? button(name) : beside(name)))));
  if (!report.tables.length) main.append(h("p", {}, "The configuration asks for no tables."));
}
