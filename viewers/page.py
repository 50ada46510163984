"""The style sheet and the script of the report, as text; nothing in here is about data."""

from __future__ import annotations

from .canvas import role_style
from .svg import condition_style
from .token_strips import token_style

_CSS = """
:root{color-scheme:light dark;--bg:#f7f7f5;--card:#fff;--line:#e2e4e8;--soft:#f1f2f4;
  --accent:#0067a8;--good:#007a59;--bad:#b3261e;
  --shadow:0 1px 2px rgba(20,28,38,.05),0 4px 16px rgba(20,28,38,.04)}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--card:#161b22;--line:#2b323c;--soft:#1f262f;
  --accent:#5db4ea;--good:#3fcaa0;--bad:#ff8a80;--shadow:none}
}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);
  font:16px/1.55 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",
  sans-serif;font-variant-numeric:tabular-nums}
main,header.top,footer{max-width:1180px;margin:0 auto;padding:0 24px}
header.top{padding-top:44px}
h1{font-size:clamp(1.6rem,1.2rem + 1.8vw,2.35rem);line-height:1.15;letter-spacing:-.02em;
  margin:0 0 .35em;text-wrap:balance;overflow-wrap:anywhere}
h2{font-size:1.3rem;letter-spacing:-.01em;margin:2.4em 0 .2em}
h3{font-size:1.02rem;margin:0;letter-spacing:-.005em;overflow-wrap:anywhere}
p{margin:.3em 0 .8em;max-width:74ch}
.lead{color:var(--muted);font-size:1.05rem}
.hint{color:var(--muted);font-size:.88rem}
a{color:var(--accent)}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;margin:22px 0 0;background:var(--card);
  border:1px solid var(--line);border-radius:12px;overflow:hidden}
.facts div{flex:1 1 auto;min-width:120px;padding:12px 18px;box-shadow:-1px -1px 0 var(--line)}
.facts dt{font-size:.76rem;color:var(--muted);text-transform:uppercase;letter-spacing:.06em}
.facts dd{margin:2px 0 0;font-weight:600;overflow-wrap:anywhere}
.legend{position:sticky;top:0;z-index:5;display:flex;flex-wrap:wrap;gap:8px;padding:10px 24px;
  margin:26px -24px 0;background:color-mix(in srgb,var(--bg) 88%,transparent);
  backdrop-filter:blur(8px);border-bottom:1px solid var(--line)}
.legend button{display:inline-flex;align-items:center;gap:8px;font:inherit;font-size:.88rem;
  color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:999px;
  padding:4px 12px 4px 10px;cursor:pointer}
.legend button[aria-pressed=false]{opacity:.45;text-decoration:line-through}
button:focus-visible,input:focus-visible,summary:focus-visible,
  .scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.swatch{flex:none;width:34px;height:14px;overflow:visible}
.swatch line{stroke:var(--k);stroke-width:2.5}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;
  box-shadow:var(--shadow);--paper:var(--card)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;padding:14px 18px 4px;color:var(--muted);font-size:.88rem}
caption span{display:block;position:sticky;left:18px;max-width:calc(100vw - 66px)}
th,td{padding:10px 12px;text-align:right;border-top:1px solid var(--line);white-space:nowrap;
  vertical-align:top}
thead th{border-top:0;white-space:normal;min-width:5em;color:var(--muted);font-weight:600;
  font-size:.8rem;vertical-align:bottom}
th[scope=row]{text-align:left;font-weight:600;position:sticky;left:0;background:var(--card);
  z-index:1}
thead th:first-child{text-align:left;position:sticky;left:0;background:var(--card);z-index:2}
tbody tr:hover td,tbody tr:hover th{background:var(--soft)}
td .ci{display:block;color:var(--muted);font-size:.8rem}
.name{display:inline-flex;align-items:center;gap:10px}
.clear{font-weight:700}
.up{color:var(--good);font-weight:700}
.down{color:var(--bad);font-weight:700}
.warn{color:var(--bad);font-weight:600}
.figures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:20px;
  margin-top:14px}
figure{margin:0;padding:16px 18px 12px}
figcaption{font-size:.88rem;color:var(--muted);margin-top:6px}
figcaption b{color:var(--ink);font-weight:600}
svg.fig,svg.map{width:100%;height:auto;display:block}
svg.map{border-radius:8px;background:var(--soft)}
svg text.tick{font-size:12.5px;fill:var(--muted)}
svg text.name{font-size:13px;fill:var(--ink);font-weight:600}
svg text.label{font-size:13.5px;font-weight:600;fill:var(--k);paint-order:stroke;
  stroke:var(--card);stroke-width:4px}
svg .halo-text{paint-order:stroke;stroke:var(--card);stroke-width:4px}
svg .grid{stroke:var(--line)}
svg .axis{stroke:var(--muted)}
svg .zero{stroke:var(--muted);stroke-dasharray:4 4}
svg .bar{stroke:var(--k);stroke-width:2;stroke-linecap:round}
svg .band{fill:var(--k);opacity:.13}
svg .cursor{stroke:var(--ink);stroke-width:1;opacity:.55}
.task{margin-top:20px;padding:20px 22px}
.task header{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:baseline;margin-bottom:14px}
.task header .hint{margin-left:auto}
.views{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:18px;
  align-items:start}
.stack{display:grid;gap:10px}
.films{display:flex;flex-wrap:wrap;gap:14px}
.film{margin:0;padding:0;width:var(--w)}
.film figcaption{display:flex;align-items:center;gap:8px;margin:0 0 5px;color:var(--ink);
  font-weight:600}
.film .ended{display:block;font-size:.8rem;color:var(--muted);margin-top:4px;font-weight:400}
.screen{position:relative;width:var(--w);height:var(--h);overflow:hidden;border-radius:8px;
  background:#000;border-bottom:3px solid var(--k);box-sizing:content-box}
.screen img,.screen video{position:absolute;left:0;top:0;image-rendering:pixelated;max-width:none}
.screen video{width:100%;height:100%}
.player{display:flex;align-items:center;gap:12px;margin:14px 0 18px}
.player button{flex:none;font:inherit;font-size:.88rem;font-weight:600;min-width:5.6em;
  padding:6px 14px;border-radius:999px;border:1px solid var(--accent);background:var(--accent);
  color:var(--card);cursor:pointer}
.player input{flex:1;min-width:80px;accent-color:var(--accent)}
.player output{flex:none;min-width:6.5em;text-align:right;font-size:.85rem;color:var(--muted)}
details{margin-top:14px}
summary{cursor:pointer;color:var(--accent);font-weight:600;font-size:.92rem}
pre{overflow:auto;max-height:420px;background:var(--soft);border-radius:10px;padding:14px 16px;
  font:.8rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace;white-space:pre-wrap;
  overflow-wrap:anywhere}
ul.notes{padding-left:1.2em}
ul.notes li{margin:.25em 0;max-width:80ch}
footer{padding-top:36px;padding-bottom:56px;color:var(--muted);font-size:.86rem}
.off{display:none!important}
@media(max-width:600px){main,header.top,footer{padding-left:14px;padding-right:14px}
.legend{margin:20px -14px 0;padding:8px 14px}
header.top{padding-top:26px}
th,td{padding:8px 10px}
.task{padding:14px}
figure{padding:12px 10px}
.task header .hint{margin-left:0}
.film{width:calc(50% - 7px)}
.screen{zoom:.78}
}
@media print{.legend,.player{display:none}
.card{break-inside:avoid;box-shadow:none}
body{background:#fff}
}
"""

SCRIPT = """
(() => {
  'use strict';
  const each = (root, what, run) => root.querySelectorAll(what).forEach(run);
  each(document, '.legend button', button => button.addEventListener('click', () => {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', on);
    each(document, '[data-condition]', part => {
      if (part !== button && part.dataset.condition === button.dataset.name)
        part.classList.toggle('off', !on);
    });
  }));
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  each(document, '.task', task => {
    const slider = task.querySelector('.player input');
    if (!slider) return;
    const button = task.querySelector('.player button');
    const words = task.querySelector('.player output');
    const films = [...task.querySelectorAll('.screen')];
    const cursors = [...task.querySelectorAll('.cursor')];
    const dots = [];
    each(task, '.now', dot => {
      const line = dot.parentNode.querySelector('.path');
      dots.push([dot, line.getAttribute('points').split(' ').map(p => p.split(','))]);
    });
    const last = +slider.max;
    let step = 0, timer = 0;
    const show = () => {
      slider.value = step;
      words.textContent = 'step ' + step + ' / ' + last;
      films.forEach(film => {
        const d = film.dataset, part = film.firstElementChild;
        const i = Math.min(Math.floor(step / d.every), d.n - 1);
        if (part.tagName === 'VIDEO') { part.currentTime = (i + 0.5) / d.fps; return; }
        const x = -(i % d.columns) * d.w, y = -Math.floor(i / d.columns) * d.h;
        part.style.transform = `translate(${x}px,${y}px)`;
      });
      dots.forEach(([dot, points]) => {
        const p = points[Math.min(step, points.length - 1)];
        dot.setAttribute('cx', p[0]); dot.setAttribute('cy', p[1]);
        dot.setAttribute('visibility', step > 0 ? 'visible' : 'hidden');
      });
      cursors.forEach(line => {
        const d = line.dataset, x = +d.left + Math.min(step, +d.last) * d.step;
        line.setAttribute('x1', x); line.setAttribute('x2', x);
        line.setAttribute('visibility', step > 0 ? 'visible' : 'hidden');
      });
    };
    const stop = () => { clearInterval(timer); timer = 0; button.textContent = 'Play'; };
    button.addEventListener('click', () => {
      if (timer) { stop(); return; }
      if (step >= last) step = 0;
      button.textContent = 'Pause';
      timer = setInterval(() => {
        step += 1;
        if (step >= last) { step = last; stop(); }
        show();
      }, calm ? 400 : 100);
    });
    slider.addEventListener('input', () => { stop(); step = +slider.value; show(); });
    show();
  });
})();
"""


def style_sheet() -> str:
    """Everything the page needs of CSS."""
    rules = "".join(line.lstrip() for line in _CSS.splitlines())
    return condition_style() + role_style() + rules + token_style()


POLICY = (
    "default-src 'none'; img-src data:; media-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
