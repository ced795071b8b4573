/// About how wide a text of a plot is, in pixels: fonts differ, so this is for a wide one.
func textWidth(_ text: String) -> Double { 8.2 * Double(text.count) }

/// The text in lines of at most so many characters, broken at spaces where there are any.
func wrapped(_ text: String, columns: Int) -> [String] {
    let columns = max(columns, 1)
    var lines = [""]
    for word in text.split(separator: " ", omittingEmptySubsequences: false) {
        var rest = Substring(word)
        let last = lines[lines.count - 1]
        if last.isEmpty {
            lines.removeLast()
        } else if last.count + 1 + rest.count <= columns {
            lines[lines.count - 1] = last + " " + rest
            continue
        }
        while rest.count > columns {
            lines.append(String(rest.prefix(columns)))
            rest = rest.dropFirst(columns)
        }
        lines.append(String(rest))
    }
    return lines
}

/// A number in its shortest form, whole ones without a fraction.
func shortNumber(_ value: Double) -> String { ConvergenceGrid.Value.number(value).text }
