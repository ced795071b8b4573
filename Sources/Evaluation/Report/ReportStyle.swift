/// The report's style sheet: light and dark by the reader's preference, no fonts or images from elsewhere.
///
/// Colours of methods follow Okabe and Ito's palette, which colour-blind readers can tell apart; the dark theme uses
/// lighter variants of the two dark blues and greens. Dash patterns tell lines apart without colour.
enum ReportStyle {
    /// Colours on light, on dark, and the dash pattern of each method.
    private static let methods: [(method: EvaluationMethod, light: String, dark: String, dash: String)] = [
        (.none, "#5f6368", "#a9afb6", ""),
        (.popularity, "#a66f00", "#f0b84a", "2 4"),
        (.profile, "#2b8cc4", "#7cc8f2", "8 4"),
        (.bias, "#00795a", "#3ecfa6", "8 3 2 3"),
        (.ridge, "#b04f86", "#e79cc4", "5 3"),
        (.cold, "#004f87", "#6aaef0", "12 3"),
        (.warm, "#8a3ffc", "#be95ff", "4 3"),
        (.similar, "#9f1853", "#ff7eb6", ""),
        (.random, "#6f6f6f", "#c6c6c6", "1 3"),
        (.engine, "#c44a00", "#ff8f4d", ""),
    ]

    static var text: String {
        let light = methods.map { "--\($0.method.rawValue):\($0.light)" }.joined(separator: ";")
        let dark = methods.map { "--\($0.method.rawValue):\($0.dark)" }.joined(separator: ";")
        let rules = methods.map { method in
            let name = method.method.rawValue
            let dash = method.dash.isEmpty ? "" : ".line.c-\(name){stroke-dasharray:\(method.dash)}"
            return
                ".c-\(name){stroke:var(--\(name))}.f-\(name){fill:var(--\(name))}.band.c-\(name){fill:var(--\(name))}\(dash)"
        }.joined(separator: "\n")
        return """
            :root{color-scheme:light dark;--page:#ffffff;--ink:#1b1d20;--quiet:#55595f;--rule:#dfe2e6;--zero:#7b8087;\(light)}
            @media (prefers-color-scheme:dark){:root{--page:#15171a;--ink:#eceef0;--quiet:#a9afb6;--rule:#33373c;--zero:#8d949c;\(dark)}}
            *{box-sizing:border-box}
            body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
            main{max-width:1160px;margin:0 auto;padding:24px 16px 48px}
            h1{font-size:1.6rem;line-height:1.2;margin:0 0 8px;overflow-wrap:anywhere}
            h2{font-size:1.15rem;margin:40px 0 4px}
            p{margin:4px 0 12px;max-width:70ch;color:var(--quiet)}
            .lead{color:var(--ink)}
            .scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
            table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
            th,td{padding:6px 8px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap;vertical-align:top}
            th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page)}
            td small{display:block;color:var(--quiet);font-size:.78rem}
            svg{display:block;width:100%;height:auto;font-family:inherit}
            .narrow{display:none}
            @media (max-width:640px){.wide{display:none}.narrow{display:block}}
            .pair{display:grid;grid-template-columns:1fr 1fr;gap:0 32px}
            @media (max-width:820px){.pair{grid-template-columns:1fr}}
            .tick,.axis{fill:var(--quiet);font-size:13px}
            .name,.label{font-size:14px}.name{fill:var(--ink)}.label{font-weight:600}
            .grid{stroke:var(--rule)}.zero{stroke:var(--zero)}
            .line{fill:none;stroke-width:2.2;stroke-linejoin:round}
            .band{stroke:none;opacity:.14}
            .whisker{stroke-width:3;stroke-linecap:round;opacity:.65}
            .settings{margin:8px 0;padding-left:1.2em;color:var(--quiet);font-size:.9rem}
            .legend{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:8px 0;padding:0;font-size:.9rem}
            .legend svg{display:inline-block;width:34px;height:10px;margin-right:6px;vertical-align:middle}
            \(rules)
            """
    }
}
