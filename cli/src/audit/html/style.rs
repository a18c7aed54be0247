//! The style sheet of the report, for screen and paper. Colour repeats information only: the report is complete in black and
//! white.

/// The style sheet.
pub(super) const SHEET: &str = "
:root { --ink: #1a1a1a; --faint: #555; --line: #bbb; --wash: #f4f4f4; }
* { box-sizing: border-box; }
body { font: 10.5pt/1.4 'Liberation Sans', Arial, Helvetica, sans-serif; color: var(--ink); background: #fff;
  max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 1.4rem 0 .4rem; border-bottom: 1px solid var(--line); }
.made { color: var(--faint); margin: 0 0 1rem; }
.question { font-weight: bold; margin: 1rem 0 .3rem; }
.answer { font-size: 1.25rem; font-weight: bold; border: 2px solid var(--ink); border-left-width: 12px;
  padding: .6rem .8rem; margin: .3rem 0; }
.answer.no { border-color: #1b6e3c; }
.answer.yes { border-color: #a51d1d; border-style: double; border-width: 6px 6px 6px 12px; }
.answer.may { border-color: #8a5a00; border-style: dashed; }
.answer.open { border-color: #555; border-style: dotted; }
.stopped { border: 1px solid var(--ink); padding: .5rem; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: 11rem 1fr; gap: .15rem .8rem; margin: .6rem 0; }
dt { color: var(--faint); } dd { margin: 0; min-width: 0; overflow-wrap: break-word; }
.legend dl { grid-template-columns: 13rem 1fr; }
code { font: .88em 'Liberation Mono', Consolas, monospace; }
.whole, td:first-child > code { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .3rem .5rem; border-bottom: 1px solid var(--line);
  overflow-wrap: break-word; }
thead th { background: var(--wash); font-weight: bold; }
td code { color: var(--faint); }
table.rules th:nth-child(2), table.rules td:nth-child(2) { width: 23%; }
table.sources th:first-child { width: 25%; } table.sources th:nth-child(2) { width: 32%; }
table.sources th:nth-child(4) { width: 17%; }
table.findings th:first-child { width: 12%; }
table.facts td { font-size: .88em; }
table.facts th { width: 30%; font-weight: normal; color: var(--faint); }
tr.finding td:first-child { border-left: 4px solid var(--ink); }
.sign { display: inline-block; width: 1em; }
b.critical, b.high { color: #a51d1d; text-transform: uppercase; }
b.medium { color: #8a5a00; }
figure { margin: .5rem 0; } figcaption { color: var(--faint); }
svg { max-width: 100%; height: auto; }
@media print {
  @page { size: A4; margin: 16mm 14mm; }
  body { max-width: none; margin: 0; padding: 0; font-size: 8.8pt; line-height: 1.32; }
  tr, .answer, figure { break-inside: avoid; }
  h1, h2 { break-after: avoid; }
  h2 { margin-top: .9rem; }
  .details h1 { margin-top: 1.4rem; }
  .question { margin-top: .6rem; } dl { gap: 0 .8rem; margin: .3rem 0; }
  thead { display: table-header-group; }
  p, li, dd { orphans: 3; widows: 3; }
}
";
