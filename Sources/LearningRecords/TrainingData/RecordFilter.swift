internal import Reasoning

/// Which rows are wanted, by their columns. A store compiles it to its own language, with values apart from the text.
public indirect enum RecordFilter: Sendable, Hashable {
    /// How two values are compared.
    public enum Comparison: String, Sendable, Hashable, CaseIterable {
        /// Equal.
        case equal = "="
        /// Not equal.
        case notEqual = "!="
        /// Less: numbers by size, texts by their bytes; a date is the beginning of its day.
        case less = "<"
        /// Less or equal.
        case lessOrEqual = "<="
        /// Greater.
        case greater = ">"
        /// Greater or equal.
        case greaterOrEqual = ">="
        /// Holds a text, which is compared to the letter.
        case contains = "~"
    }

    /// A column's value compares so with another. `NULL` compares with nothing: the row is not wanted.
    case compare(String, Comparison, TrainingValue)
    /// A column has no value.
    case isNull(String)
    /// All fit.
    case all([RecordFilter])
    /// At least one fits.
    case any([RecordFilter])
    /// It does not fit. A comparison with `NULL` fits neither so nor so.
    case not(RecordFilter)

    /// The deepest that filters may stand in each other.
    public static var deepest: Int { 32 }
    /// The most comparisons of a filter.
    public static var mostTerms: Int { 500 }

    /// Reads `COLUMN=VALUE`, or with another of ``Comparison``; `COLUMN=` asks for rows without a value.
    ///
    /// - Throws: ``RecordError`` (`invalid`) where there is no such column, or the value is not of its type.
    public init(_ text: String, of kind: TrainingKind) throws(RecordError) {
        // Those of two characters come first.
        let comparisons = Comparison.allCases.sorted { $0.rawValue.utf8.count > $1.rawValue.utf8.count }
        var found: (place: String.Index, comparison: Comparison)?
        for comparison in comparisons {
            guard let range = text.firstRange(of: comparison.rawValue) else { continue }
            if found.map({ range.lowerBound < $0.place }) ?? true { found = (range.lowerBound, comparison) }
        }
        guard let (place, comparison) = found else {
            throw RecordError(.invalid, "filter", "a filter is COLUMN=VALUE, or with != < <= > >= or ~ between them")
        }
        let (name, rest) = (text[..<place].trimming(" "), text[place...])
        let value = String(rest.dropFirst(comparison.rawValue.count))
        guard let column = kind.columns.first(where: { $0.name == name }) else {
            throw RecordFilter.unknown(name, kind)
        }
        if let first = value.first, "=<>".contains(first) {
            throw RecordError(
                .invalid, "filter", "the value begins with '\(first)': comparisons are = != < <= > >= and ~ (contains)")
        }
        if value.isEmpty, comparison == .equal {
            self = .isNull(name)
            return
        }
        if value.isEmpty, comparison == .notEqual {
            self = .not(.isNull(name))
            return
        }
        self = .compare(name, comparison, try Self.value(value, column))
        try check(kind)
    }

    private static func value(_ text: String, _ column: TrainingColumn) throws(RecordError) -> TrainingValue {
        switch column.type {
        case .text, .timestamp: return .text(text)
        case .json: return .json(text)
        case .integer: if let number = Int64(text) { return .integer(number) }
        case .real: if let number = Double(text), number.isFinite { return .real(number) }
        case .boolean:
            if text == "true" || text == "1" { return .boolean(true) }
            if text == "false" || text == "0" { return .boolean(false) }
        }
        throw RecordError(
            .invalid, "filter", "the value for '\(column.name)' should be of type \(column.type.rawValue)")
    }

    private static func unknown(_ name: String, _ kind: TrainingKind) -> RecordError {
        RecordError(
            .invalid, "filter",
            "\(kind.rawValue) have no column of that name; there are \(kind.columns.map(\.name).joined(separator: ", "))"
        )
    }

    /// Refuses a filter that does not fit a kind, or is too large.
    package func check(_ kind: TrainingKind) throws(RecordError) {
        var terms = 0
        try check(kind, depth: 0, &terms)
    }

    private func check(_ kind: TrainingKind, depth: Int, _ terms: inout Int) throws(RecordError) {
        guard depth < Self.deepest else {
            throw RecordError(.invalid, "filter", "filters stand in each other deeper than \(Self.deepest)")
        }
        terms += 1
        guard terms <= Self.mostTerms else {
            throw RecordError(.invalid, "filter", "a filter has more than \(Self.mostTerms) terms")
        }
        switch self {
        case .compare(let name, let comparison, let value):
            guard let column = kind.columns.first(where: { $0.name == name }) else { throw Self.unknown(name, kind) }
            let fits =
                switch (column.type, value) {
                case (.text, .text), (.json, .json): true
                case (.timestamp, .text(let text)): comparison == .contains || Timestamp(utc: text) != nil
                case (.integer, .integer), (.boolean, .boolean): comparison != .contains
                case (.real, .integer): comparison != .contains
                case (.real, .real(let number)): comparison != .contains && number.isFinite
                default: false
                }
            guard fits else {
                throw RecordError(
                    .invalid, "filter",
                    "'\(name)' is of type \(column.type.rawValue), and the value or comparison is not")
            }
        case .isNull(let name):
            guard kind.columns.contains(where: { $0.name == name }) else { throw Self.unknown(name, kind) }
        case .all(let filters), .any(let filters):
            for filter in filters { try filter.check(kind, depth: depth + 1, &terms) }
        case .not(let filter): try filter.check(kind, depth: depth + 1, &terms)
        }
    }

    /// The filter in words, for manifests.
    package var text: String {
        switch self {
        case .compare(let name, let comparison, let value):
            switch value {
            case .null: "\(name) \(comparison.rawValue) NULL"
            case .integer(let number): "\(name) \(comparison.rawValue) \(number)"
            case .real(let number): "\(name) \(comparison.rawValue) \(number)"
            case .boolean(let flag): "\(name) \(comparison.rawValue) \(flag)"
            case .text(let text), .json(let text): "\(name) \(comparison.rawValue) \(JSONOutput.quoted(text))"
            }
        case .isNull(let name): "\(name) is NULL"
        case .all(let filters): "(\(filters.map(\.text).joined(separator: " and ")))"
        case .any(let filters): "(\(filters.map(\.text).joined(separator: " or ")))"
        case .not(let filter): "not \(filter.text)"
        }
    }
}

extension RecordFilter {
    /// Reads several filters with ` AND ` between them, of which all have to fit. A value cannot have that in it.
    public init(all text: String, of kind: TrainingKind) throws(RecordError) {
        var filters: [RecordFilter] = []
        for part in text.split(separator: " AND ", omittingEmptySubsequences: false) {
            if part.allSatisfy({ $0 == " " }) {
                throw RecordError(.invalid, "filter", "a filter is empty: ' AND ' stands between two")
            }
            filters.append(try RecordFilter(String(part), of: kind))
        }
        guard let first = filters.first else { throw RecordError(.invalid, "filter", "the filter is empty") }
        self = filters.count == 1 ? first : .all(filters)
    }
}

extension Substring {
    /// Without a character at both ends.
    fileprivate func trimming(_ character: Character) -> String {
        let start = drop { $0 == character }
        return String(
            start[..<(start.lastIndex { $0 != character }.map { start.index(after: $0) } ?? start.startIndex)])
    }
}
