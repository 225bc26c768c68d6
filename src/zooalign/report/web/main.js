// Which page is shown follows from the address after #, so that every view can be linked and gone back to.
const PAGES = {
  "": ["Overview", overview],
  matrix: ["Matrix", matrixPage],
  explorer: ["Explorer", explorerPage],
  models: ["Models", modelsPage],
  pair: ["Pair", pairPage],
  sensitivity: ["Sensitivity", sensitivityPage],
  methods: ["Methods", methodsPage],
  tables: ["Tables", tablesPage],
};
const NEED_SCORES = new Set(["matrix", "explorer", "pair", "model"]);
const HIDDEN = { model: ["Model", modelPage] };

function go(page, query) {
  location.hash = address(page, query).slice(1);
}

// Keep what was chosen in the address, without another entry in the history.
function keep(page, chosen) {
  history.replaceState(null, "", address(page, chosen));
}

// New controls in the place of old ones; the keyboard stays where it was.
function keepFocus(controls, fresh) {
  const at = [...controls.children].findIndex((child) => child.contains(document.activeElement));
  controls.replaceChildren(...fresh);
  if (at >= 0) controls.children[at]?.querySelector("select, button")?.focus();
}

function notFound(main, said) {
  main.append(h("h1", {}, "Not in this report"), h("p", {}, said));
}

async function show(first) {
  const [name, said] = location.hash.replace(/^#\/?/, "").split("?");
  const view = (PAGES[name] ?? HIDDEN[name] ?? [])[1];
  const main = document.getElementById("main");
  // A page that is left while it is drawn goes on in an element that nobody sees.
  const page = h("div", {});
  forgetCharts();
  main.replaceChildren(page);
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (NEED_SCORES.has(name)) await loadScores();
  try {
    if (view) await view(page, new URLSearchParams(said));
    else notFound(page, `There is no page ${name}.`);
  } catch (error) {
    console.error(error);
    notFound(page, `This page cannot be shown: ${error}`);
  }
  if (!page.isConnected) return;
  document.title = `${page.querySelector("h1").textContent} · zooalign`;
  if (!first) {
    main.focus();
    scrollTo(0, 0);
  }
}

const THEMES = { light: "Dark mode", dark: "Light mode" };
function theme(chosen) {
  document.documentElement.dataset.theme = chosen;
  document.getElementById("theme").textContent = THEMES[chosen];
  redraw();
}

theme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.getElementById("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
document.getElementById("nav").append(...Object.entries(PAGES).map(([name, [title]]) => h("a", { href: address(name), "data-page": name }, title)));
document.getElementById("footer").append(h("p", {}, `${report.settings["Made by"] ?? "zooalign"}. Charts by Plotly.js (MIT licence). Nothing here is fetched from a network.`));
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main").focus(); });
addEventListener("hashchange", () => show(false));
await loadPlotly();
await show(true);
// Milliseconds from the start of the page to its first chart.
document.documentElement.dataset.ready = Math.round(performance.now());
