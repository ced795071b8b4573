/// The reports' style sheet: light and dark by the reader's preference, light on paper, no fonts or images from elsewhere.
enum ReportStyle {
    static var text: String {
        """
        :root{color-scheme:light dark;--page:#ffffff;--ink:#1b1d20;--quiet:#55595f;--rule:#dfe2e6;--zero:#7b8087;\(SeriesStyle.variables(dark: false))}
        @media screen and (prefers-color-scheme:dark){:root{--page:#15171a;--ink:#eceef0;--quiet:#a9afb6;--rule:#33373c;--zero:#8d949c;\(SeriesStyle.variables(dark: true))}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
        main{max-width:1160px;margin:0 auto;padding:24px 16px 48px}
        h1{font-size:1.6rem;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
        h2{font-size:1.15rem;margin:40px 0 4px}
        h3{font-size:1rem;margin:16px 0 0;overflow-wrap:anywhere}
        p{margin:4px 0 12px;max-width:70ch;color:var(--quiet);overflow-wrap:anywhere}
        .lead{color:var(--ink)}
        .finding{margin:8px 0 12px;padding-left:1.2em;max-width:72ch}
        .finding li{margin:4px 0}
        pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem;margin:8px 0;padding:8px 12px;border:1px solid var(--rule)}
        .scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
        table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
        th,td{padding:6px 8px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap;vertical-align:top}
        th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page)}
        th.words,td.words{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:9em}
        .dense td:first-child{min-width:7.5em;max-width:22em;white-space:normal;overflow-wrap:anywhere}
        .dense th,.dense td{padding:6px 5px}.dense small{font-size:.74rem}
        @media (max-width:640px){.dense td:first-child{max-width:38vw}}
        td small{display:block;color:var(--quiet);font-size:.78rem}
        svg{display:block;width:100%;height:auto;font-family:inherit}
        .narrow,.paper{display:none}
        @media (max-width:640px){.wide{display:none}.narrow{display:block}}
        .pair{display:grid;grid-template-columns:1fr 1fr;gap:0 32px}
        .pair>*{min-width:0}
        @media (max-width:820px){.pair{grid-template-columns:1fr}}
        .tick,.axis{fill:var(--quiet);font-size:13px}
        .name,.label{font-size:14px}.name{fill:var(--ink)}.above{paint-order:stroke;stroke:var(--page);stroke-width:5px;stroke-linejoin:round}.label{font-weight:600}
        .grid{stroke:var(--rule)}.zero{stroke:var(--zero)}
        .line{fill:none;stroke-width:2.2;stroke-linejoin:round}
        .band{stroke:none;opacity:.14}
        .mark{stroke-width:1.6}
        .bar{fill:none;stroke-width:2;opacity:.6}
        .joint{fill:none;stroke:var(--quiet);stroke-width:1.4;stroke-dasharray:3 3}
        .other{fill:none;stroke:var(--zero);stroke-width:1}
        .choice{stroke:var(--quiet);stroke-dasharray:2 3}
        .fail{fill:none;stroke:var(--ink);stroke-width:2.4}
        .whisker{stroke-width:3;stroke-linecap:round;opacity:.65}
        .settings{margin:8px 0;padding-left:1.2em;color:var(--quiet);font-size:.9rem}
        .legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:8px 0;padding:0;font-size:.9rem}
        .legend li{overflow-wrap:anywhere}
        .legend svg{display:inline-block;width:34px;height:10px;margin-right:6px;vertical-align:middle}
        .legend.marks li{display:flex;align-items:center}.legend.marks svg{flex:none;height:16px}
        \(SeriesStyle.rules)
        @page{margin:14mm 12mm}
        @media print{
        body{font-size:10pt}
        main{padding:0;max-width:none}
        p,.finding{max-width:none}
        h2{margin-top:20px;break-after:avoid}
        svg,tr,li,.legend{break-inside:avoid}
        .legend,section>p{break-after:avoid}
        .scroll{overflow:visible}
        table{font-size:7.5pt}
        th,td,.dense th,.dense td{padding:3px 4px;white-space:normal}
        td small,.dense small{font-size:6.5pt;white-space:nowrap}
        .dense td:first-child{min-width:9em}
        th.words,td.words{min-width:0}
        th:first-child,td:first-child{position:static}
        .paper{display:block}.wide,.narrow{display:none}
        .pair{grid-template-columns:1fr 1fr;gap:0 20px}
        .pair .narrow{display:block}
        .pair>*{break-inside:avoid}
        }
        """
    }
}
