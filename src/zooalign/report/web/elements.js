// Elements of the page. Text is always set as text: nothing of the data is ever read as markup.
let lastId = 0;
function newId() {
  lastId += 1;
  return `e${lastId}`;
}

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// A table that scrolls sideways where the page is narrow. Cells are text, numbers or elements.
function table(label, headings, rows) {
  const numeric = headings.map((_, i) => rows.some((row) => typeof row[i] === "number"));
  const look = (i) => (numeric[i] ? { class: "number" } : {});
  const cell = (value) => (typeof value === "number" ? shown(value) : (value ?? ""));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {},
      h("thead", {}, h("tr", {}, headings.map((name, i) => h("th", { scope: "col", ...look(i) }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, i) => h("td", look(i), cell(value))))))));
}

function select(label, options, chosen, changed) {
  const box = h("select", { onchange: () => changed(box.value) },
    options.map(([value, name]) => h("option", { value }, name)));
  if (options.some(([value]) => value === chosen)) box.value = chosen;
  return h("label", {}, label, box);
}

function list(pairs) {
  return h("dl", {}, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function address(page, query = {}) {
  const said = new URLSearchParams(query).toString();
  return `#/${page}${said ? `?${said}` : ""}`;
}

function modelLink(model) {
  return h("a", { href: address("model", { id: model.id }) }, named(model));
}

function pairLink(dataset, x, y, said) {
  return h("a", { href: address("pair", { dataset, x: x.id, y: y.id }) }, said ?? `${x.id} and ${y.id}`);
}

function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const MARKS = "† random control: never trained. ‡ intervention: a model changed on purpose. Neither is in a mean." +
  (models.some((m) => m.imported) ? " ⇣ imported: made elsewhere, without weights here." : "");
