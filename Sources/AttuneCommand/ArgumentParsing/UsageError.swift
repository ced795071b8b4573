/// A command line that can't be obeyed.
struct UsageError: Error, Equatable, CustomStringConvertible {
    /// What is wrong and, where it is known, what was probably meant. Begins in lower case, ends with a full stop.
    let message: String
    /// The command it concerns, or nil when none was recognised.
    let command: String?

    init(_ message: String, command: String?) {
        self.message = message
        self.command = command
    }

    var description: String { message }
}

/// The user's own text in quotation marks, made safe to print: control characters (which could drive a terminal) as
/// `\u{…}`, and no more than 60 characters.
func quoted(_ text: String) -> String {
    let scalars = text.unicodeScalars.prefix(60)
    let cut = scalars.endIndex == text.unicodeScalars.endIndex ? "" : "…"
    return "'\(printable(String(String.UnicodeScalarView(scalars))))\(cut)'"
}

/// Text from outside made safe to print: control characters as `\u{…}`, but for those in `except`.
func printable(_ text: String, except kept: Set<Unicode.Scalar> = []) -> String {
    var shown = ""
    for scalar in text.unicodeScalars {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
            shown += kept.contains(scalar) ? String(scalar) : scalar.escaped(asASCII: true)
        default: shown.unicodeScalars.append(scalar)
        }
    }
    return shown
}

/// ` Did you mean 'x'?` for the candidate nearest to what was typed, or nothing when none is near.
func suggestion(for typed: String, among candidates: [String]) -> String {
    // The distance is quadratic: what is much longer than any candidate is near to none.
    let longest = candidates.map(\.count).max() ?? 0
    guard typed.unicodeScalars.count <= 2 * longest else { return "" }
    let bare = typed.drop { $0 == "-" }
    guard !bare.isEmpty else { return "" }
    var best: (candidate: String, distance: Int)?
    for candidate in candidates {
        let name = candidate.drop { $0 == "-" }
        let isBeginning = bare.count >= 3 && name.hasPrefix(bare)
        let distance = isBeginning ? 1 : editDistance(Array(bare.lowercased()), Array(name))
        guard distance <= max(1, name.count / 3) else { continue }
        if let known = best, known.distance <= distance { continue }
        best = (candidate, distance)
    }
    return best.map { " Did you mean '\($0.candidate)'?" } ?? ""
}

/// The number of insertions, deletions, substitutions and swaps of neighbours that turn one word into the other (the
/// restricted Damerau–Levenshtein distance). O(n·m) time, O(m) memory.
func editDistance(_ first: [Character], _ second: [Character]) -> Int {
    guard !first.isEmpty, !second.isEmpty else { return max(first.count, second.count) }
    var beforeLast: [Int] = []
    var last = Array(0...second.count)
    for i in 1...first.count {
        var row = [i]
        for j in 1...second.count {
            let cost = first[i - 1] == second[j - 1] ? 0 : 1
            var value = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
            if i > 1, j > 1, first[i - 1] == second[j - 2], first[i - 2] == second[j - 1] {
                value = min(value, beforeLast[j - 2] + 1)
            }
            row.append(value)
        }
        beforeLast = last
        last = row
    }
    return last[second.count]
}
