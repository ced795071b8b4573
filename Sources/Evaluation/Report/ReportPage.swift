/// The page around a report, and what its parts share.
///
/// Self-contained: no script, nothing is loaded from elsewhere (a content security policy says so to the browser).
enum ReportPage {
    static func html(title: String, parts: [String]) -> String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
        <title>\(markup(title))</title>
        <style>
        \(ReportStyle.text)
        </style>
        </head>
        <body>
        <main>
        <h1>\(markup(title))</h1>
        \(parts.joined(separator: "\n"))
        </main>
        </body>
        </html>

        """
    }

    /// The plot for wide screens, the one for narrow screens and the one for paper, of which the style sheet shows one.
    static func responsive(wide: Double, _ svg: (_ width: Double) -> String) -> String {
        // Figures two and two are as narrow on paper as on a phone.
        "<div class=\"wide\">\(svg(wide))</div>\n<div class=\"narrow\">\(svg(358))</div>"
            + (wide > 700 ? "\n<div class=\"paper\">\(svg(700))</div>" : "")
    }

    /// One of two figures beside each other, with its heading.
    static func half(_ heading: String, _ text: String = "", legend: String = "", _ svg: (_ width: Double) -> String)
        -> String
    {
        let words = text.isEmpty ? "" : "<p>\(markup(text))</p>\n"
        return "<section>\n<h2>\(markup(heading))</h2>\n\(words)\(legend)\(responsive(wide: 540, svg))\n</section>"
    }

    /// Figures two and two beside each other.
    static func pairs(_ figures: [String]) -> String {
        "<div class=\"pair\">\n\(figures.joined(separator: "\n"))\n</div>"
    }

    /// What the lines of a plot are.
    static func legend(_ series: [(name: String, style: SeriesStyle)], hasMarks: Bool) -> String {
        let items = series.map { "<li>\($0.style.key(hasMark: hasMarks))\(markup($0.name))</li>" }
        return "<ul class=\"legend\(hasMarks ? " marks" : "")\">\n\(items.joined(separator: "\n"))\n</ul>"
    }
}
