// Draws the page's figures from the JSON beside them. Details of a clicked cell are written as text, never as HTML.
for (const plot of document.querySelectorAll(".plot")) {
  const { data, layout, config } = JSON.parse(plot.nextElementSibling.textContent);
  delete layout.width;
  Plotly.newPlot(plot, data, layout, config);
  const prompt = layout.meta && layout.meta.details;
  if (!prompt) continue;
  const details = document.createElement("p");
  details.className = "details";
  details.setAttribute("aria-live", "polite");
  details.textContent = prompt;
  plot.parentElement.append(details);
  plot.on("plotly_click", ({ points }) => {
    const known = points[0].hovertext.split("<br>").map(text =>
      text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&"));
    details.textContent = known.join(" · ");
  });
}
// Paper is narrower than the screen.
const fit = width => document.querySelectorAll(".plot").forEach(plot => Plotly.relayout(plot, width));
addEventListener("beforeprint", () => fit({ autosize: false, width: 680 }));
addEventListener("afterprint", () => fit({ autosize: true, width: null }));
