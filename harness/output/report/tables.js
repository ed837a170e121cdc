// What is shown as text: the answer, the tables, the conditions. Whatever the table names becomes a text node, never markup.

// Return a new element; texts among the children become text nodes.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

// Return a network's text as nodes that a narrow column may break after each block.
function breakable(text) {
  return text.split(/(?<=\/)/).flatMap((part, place) => (place ? [element("wbr"), part] : [part]));
}

function gradeBadge(table, cost, index) {
  const source = sourceText(table, cost, index);
  if (!source) return "";
  if (!cost.measured[index]) return element("span", { class: "source" }, "predicted");
  const grade = cost.grades ? table.grades[cost.grades[index]] : "";
  return element("span", { class: `source grade grade-${grade}`, title: source }, grade ? `measured ${grade}` : "measured");
}

function costCell(table, cost, index) {
  const interval = intervalText(cost, index);
  return element(
    "td",
    { class: "number" },
    gradeBadge(table, cost, index),
    element("span", { class: "value" }, costNumber(cost, cost.values[index])),
    interval && element("small", {}, interval),
  );
}

// Fill a table with networks: rank, name, accuracies and what each costs. `marks` gives a network's mark, or "".
function fillNetworks(target, table, indices, marks) {
  const accuracies = table.isRanked ? [table.accuracy, ...table.shown] : [];
  const numbers = (text, detail) =>
    element("th", { scope: "col", class: "number" }, element("span", {}, text), detail && element("small", {}, detail));
  const head = element(
    "tr",
    {},
    element("th", { scope: "col", class: "number" }, "#"),
    element("th", { scope: "col" }, "Network"),
    ...accuracies.map((accuracy) => numbers(accuracyTitle(accuracy), "")),
    ...table.costs.map((cost) => numbers(costTitle(cost), cost.high ? `${percentText(cost.coverage)} interval` : "")),
  );
  const rows = indices.map((index, rank) =>
    element(
      "tr",
      { "data-index": index },
      element("td", { class: "number rank" }, String(rank + 1)),
      element("th", { scope: "row", class: "network" }, ...breakable(networkText(table.space, index)), marks(index)),
      ...accuracies.map((accuracy, place) =>
        element(
          "td",
          { class: "number" },
          element("span", { class: "value" }, accuracyText(accuracy.values[index])),
          place === 0 && reachText(accuracy, index) ? element("small", {}, reachText(accuracy, index)) : "",
        ),
      ),
      ...table.costs.map((cost) => costCell(table, cost, index)),
    ),
  );
  target.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

// Show the answer, or which limit stands in its way.
function fillAnswer(target, table, choice) {
  if (choice.best.length) {
    const index = choice.best[0];
    const facts = table.costs.map((cost) => {
      const interval = intervalText(cost, index);
      return element(
        "div",
        { class: "fact" },
        element("dt", {}, costName(cost)),
        element(
          "dd",
          {},
          costText(cost, cost.values[index]),
          interval && element("small", {}, interval),
          gradeBadge(table, cost, index),
        ),
      );
    });
    target.className = "answer";
    target.replaceChildren(
      element("p", { class: "over" }, byId("best-title").textContent),
      element(
        "p",
        { class: "winner" },
        element("span", { class: "star", "aria-hidden": "true" }, "★"),
        element("code", { id: "answer-network", "data-index": index }, ...breakable(networkText(table.space, index))),
      ),
      element(
        "dl",
        { class: "facts" },
        ...[table.accuracy, ...table.shown].map((accuracy, place) =>
          element(
            "div",
            { class: place === 0 ? "fact main" : "fact" },
            element("dt", {}, accuracy.label),
            element(
              "dd",
              {},
              `${accuracyText(accuracy.values[index])} %`,
              place === 0 && reachText(accuracy, index) ? element("small", {}, reachText(accuracy, index)) : "",
            ),
          ),
        ),
        ...facts,
      ),
      element("p", { id: "count", class: "note" }, countNote(table, choice)),
    );
    return;
  }
  target.className = "answer none";
  target.replaceChildren(
    element("p", { class: "winner" }, `None of ${countText(table.networks, table.noun)} meets the limits.`),
    ...missTexts(table, choice.miss).map((text) => element("p", { class: "miss" }, ...text)),
  );
}

function countNote(table, choice) {
  const count = choice.count.toLocaleString("en");
  const all = countText(table.networks, table.noun);
  const limited = choice.limited ? `${count} of ${all} meet the limits` : `No limit is set: ${count} of ${all} compete`;
  const missing = table.networks - table.accuracy.known;
  const far = table.networks - countOnes(table.supported);
  const without = missing ? `; ${countText(missing, "network")} without an accuracy do not` : "";
  return `${limited}${without}${far ? `; ${countText(far, "network")} unlike any that was measured, or failed, are left out` : ""}.`;
}

function missTexts(table, miss) {
  if (miss === null) return [["Of no network with an accuracy all that the limits ask for is known."]];
  const takes = ({ cost, limit, needed, share }) =>
    `${costName(cost)} at ${costText(cost, needed)}, ${percentText(share)} beyond ${costText(cost, limit)}`;
  const name = breakable(networkText(table.space, miss.index));
  const network = element("code", { id: "nearest-network", "data-index": miss.index }, ...name);
  const reaches = ` (${accuracyText(table.accuracy.values[miss.index])} % ${table.accuracy.label})`;
  const [nearest, ...others] = miss.alone;
  const further = others.map((one) => `, or ${takes(one)}`).join("");
  if (miss.lacks.length === 1) {
    const texts = [["The nearest limit is that on ", `${takes(miss.lacks[0])}: there it lets in `, network, `${reaches}.`]];
    return others.length ? [...texts, [`Other limits that would do, raised alone: ${others.map(takes).join(", or ")}.`]] : texts;
  }
  return [
    ["The nearest network is ", network, `${reaches}: it takes ${miss.lacks.map(takes).join(" and ")}.`],
    nearest ? [`Raised alone, the nearest limit is that on ${takes(nearest)}${further}.`] : ["No limit raised alone lets a network in."],
  ];
}

function fillConditions(table) {
  const latencies = table.costs.filter((cost) => cost.conditions.length);
  byId("conditions").hidden = latencies.length === 0;
  byId("condition-list").replaceChildren(
    ...latencies.map((cost) =>
      element(
        "article",
        {},
        element("h3", {}, costName(cost)),
        element("p", { class: "note" }, cost.title),
        element(
          "dl",
          {},
          ...cost.conditions.flatMap(([label, text]) => [element("dt", {}, label), element("dd", {}, text)]),
        ),
      ),
    ),
  );
}

function fillNotes(table) {
  const notes = [...table.notes];
  for (const one of [table.accuracy, ...table.shown]) for (const note of one.notes) if (!notes.includes(note)) notes.push(note);
  byId("notes").hidden = notes.length === 0;
  byId("note-list").replaceChildren(...notes.map((note) => element("li", {}, note)));
}
