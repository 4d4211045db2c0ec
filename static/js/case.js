// The case page: draws the differential as bars with their intervals, and copies the table; it computes no figure.
import { copyFrom } from "./copy.js";

const read = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
let chart;

const whiskers = {
  id: "whiskers",
  afterDatasetsDraw({ ctx, scales: { x }, data }, _args, { color, bars }) {
    ctx.save();
    ctx.strokeStyle = color;
    ctx.lineWidth = 1.5;
    const meta = chart?.getDatasetMeta(0) ?? { data: [] };
    meta.data.forEach((bar, i) => {
      if (i >= data.labels.length || bars[i].low === null) return;
      const [from, to] = [x.getPixelForValue(bars[i].low), x.getPixelForValue(bars[i].high)];
      ctx.beginPath();
      ctx.moveTo(from, bar.y);
      ctx.lineTo(to, bar.y);
      [from, to].forEach((end) => {
        ctx.moveTo(end, bar.y - 4);
        ctx.lineTo(end, bar.y + 4);
      });
      ctx.stroke();
    });
    ctx.restore();
  },
};

function draw() {
  // No id: htmx would carry the style attribute of the old canvas over, which the CSP refuses.
  const canvas = document.querySelector("canvas[data-chart]");
  chart?.destroy();
  chart = undefined;
  if (!canvas) return;
  const bars = read("chart-bars");
  const style = getComputedStyle(document.body);
  const [text, line] = [style.getPropertyValue("--bs-body-color"), style.getPropertyValue("--bs-border-color")];
  canvas.parentElement.style.height = `${Math.max(9, 2.6 + bars.length * 1.9)}rem`;
  chart = new Chart(canvas, {
    type: "bar",
    data: {
      labels: bars.map((bar) => bar.code),
      datasets: [{ data: bars.map((bar) => bar.percent), backgroundColor: bars.map((bar) => bar.color), barPercentage: 0.7 }],
    },
    options: {
      animation: false,
      indexAxis: "y",
      maintainAspectRatio: false,
      scales: {
        x: { min: 0, max: Math.min(100, Math.ceil(Math.max(...bars.map((bar) => bar.high)) / 10) * 10),
             ticks: { color: text, callback: (value) => `${value} %` }, grid: { color: line } },
        y: { ticks: { color: text, autoSkip: false }, grid: { display: false } },
      },
      plugins: {
        legend: { display: false },
        whiskers: { color: text, bars },
        tooltip: {
          callbacks: {
            title: ([item]) => bars[item.dataIndex].name,
            label: ({ dataIndex: i }) => `${bars[i].percent} % (${bars[i].low.toFixed(1)} – ${bars[i].high.toFixed(1)})`,
          },
        },
      },
    },
    plugins: [whiskers],
  });
  chart.update();
}

draw();
copyFrom("clipboard");
document.body.addEventListener("htmx:afterSwap", draw);
new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
