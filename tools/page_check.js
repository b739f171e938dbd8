// What must be true of a page that fedtap writes, asked within a browser: a list of faults, one line each.
(async () => {
  const faults = [];
  const name = (node) => `<${node.tagName.toLowerCase()}${node.className && node.className.baseVal === undefined ? "." + node.className : ""}> ${(node.textContent || "").trim().slice(0, 40)}`;
  const visible = (node) => node.checkVisibility({ contentVisibilityAuto: true, opacityProperty: true, visibilityProperty: true });

  // every figure has a text alternative
  for (const image of document.querySelectorAll("img")) { if (!image.alt.trim()) { faults.push(`no alternative: ${name(image)}`); } }
  for (const svg of document.querySelectorAll("svg")) {
    if (svg.getAttribute("role") !== "img" || !(svg.getAttribute("aria-label") || "").trim()) { faults.push("an svg without a name"); }
  }
  for (const table of document.querySelectorAll("table")) { if (!table.caption) { faults.push(`a table without a caption: ${name(table)}`); } }
  for (const image of document.querySelectorAll("img")) {
    await image.decode().catch(() => faults.push(`a picture that is none: ${image.alt}`));
  }

  // contrast: WCAG 2 AA
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  canvas.canvas.width = canvas.canvas.height = 1;
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = "#000";
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = (top, below) => top.slice(0, 3).map((value, at) => value * top[3] + below[at] * (1 - top[3]));
  const behind = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const layer = rgba(getComputedStyle(at).backgroundColor);
      if (layer[3] > 0) { layers.push(layer); }
      if (layer[3] === 1) { break; }
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !visible(node) || ["SCRIPT", "STYLE"].includes(node.tagName)) { continue; }
    const style = getComputedStyle(node);
    const ground = behind(node);
    const ink = over(rgba(node instanceof SVGElement ? style.fill : style.color), ground);
    const [high, low] = [light(ink), light(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
    const key = `${ink.map(Math.round)} on ${ground.map(Math.round)}`;
    if (ratio < (large ? 3 : 4.5) && !seen.has(key)) {
      seen.add(key);
      faults.push(`contrast ${ratio.toFixed(2)}: ${key}: ${name(node)}`);
    }
  }

  // tables sort, up and down
  const cell = (row, column) => row.cells[column].dataset.v || row.cells[column].textContent.replace(/[★≈▿●○◆,]/g, "").trim();
  let sorted = 0;
  for (const table of [...document.querySelectorAll("table.sortable")].slice(0, 12)) {
    const body = table.tBodies[0], before = body.rows.length;
    for (let column = 0; column < table.tHead.rows[0].cells.length; column += 1) {
      const head = table.tHead.rows[0].cells[column];
      for (const way of ["ascending", "descending"]) {
        head.querySelector("button").click();
        if (head.getAttribute("aria-sort") !== way) { faults.push(`${name(head)} is not sorted ${way}`); }
        const values = [...body.rows].map((row) => cell(row, column)).filter((text) => text && text !== "–" && /^[-+]?\d/.test(text)).map(parseFloat);
        if (values.some((value, at) => at && (way === "ascending" ? values[at - 1] > value : values[at - 1] < value))) {
          faults.push(`${table.caption.textContent}: ${name(head)} is out of order, ${way}`);
        }
        sorted += values.length > 1;
      }
    }
    if (body.rows.length !== before) { faults.push(`${table.caption.textContent}: rows were lost`); }
  }

  // contents and links within the page jump
  const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
  if (new Set(ids).size !== ids.length) { faults.push("an id stands twice"); }
  let jumped = 0;
  for (const link of document.querySelectorAll("a[href^='#']")) {
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) { faults.push(`leads nowhere: ${link.hash}`); continue; }
    if (jumped < 40) {
      link.click();
      await new Promise((done) => setTimeout(done, 15));
      const box = target.getBoundingClientRect();
      if (!visible(target) || box.top > innerHeight || box.bottom < 0) { faults.push(`does not jump: ${link.hash}`); }
      jumped += 1;
    }
  }

  // nothing is wider than the screen
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) {
    const guilty = [...document.body.querySelectorAll("*")].find((node) => node.getBoundingClientRect().right > innerWidth + 1 && !node.closest(".scroll, pre, svg"));
    faults.push(`scrolls sideways: ${wide} of ${innerWidth} pixels, ${guilty ? name(guilty) : "?"}`);
  }
  return { faults, sorted, jumped, figures: document.querySelectorAll("img, svg").length };
})()
