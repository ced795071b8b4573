/// What the values of a column are.
public enum TrainingColumnType: String, Sendable, Hashable, CaseIterable {
    /// Any text: ``TrainingValue/text(_:)``.
    case text
    /// A whole number of 64 bits: ``TrainingValue/integer(_:)``.
    case integer
    /// A finite number: ``TrainingValue/real(_:)``.
    case real
    /// A JSON text (RFC 8259): ``TrainingValue/json(_:)``.
    case json
    /// Yes or no: ``TrainingValue/boolean(_:)``.
    case boolean
    /// A moment in UTC with microseconds, such as `2026-11-27 05:31:12.123456`: a ``TrainingValue/text(_:)`` of that form.
    case timestamp
}

/// A column of training data: what it is called and what its values are. Any of them may be ``TrainingValue/null``.
public struct TrainingColumn: Sendable, Hashable {
    /// Its name: letters of ASCII, digits, `_`, `.` and `-`, 1...128 of them, and the first is a letter or `_`.
    public let name: String
    /// What its values are.
    public let type: TrainingColumnType

    /// A column. A name of another form than ``name`` says is a mistake of the caller.
    public init(name: String, type: TrainingColumnType) {
        precondition(
            Self.isName(name),
            "a column's name is 1...128 ASCII letters, digits, '_', '.' or '-' and begins with a letter or '_'")
        (self.name, self.type) = (name, type)
    }

    private static func isName(_ name: String) -> Bool {
        func isLetter(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || byte == UInt8(ascii: "_")
        }
        guard let first = name.utf8.first, isLetter(first), name.utf8.count <= 128 else { return false }
        return name.utf8.allSatisfy {
            isLetter($0) || $0.isDigitOfJSON || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
        }
    }

    /// The column's field in the header of a CSV file.
    var headerField: [UInt8] { Array("\(name):\(type.rawValue)".utf8) }

    /// The places of columns by name. No column, or two of one name, are a mistake of the caller.
    static func places(_ columns: [TrainingColumn]) -> [String: Int] {
        precondition(!columns.isEmpty, "a table has at least one column")
        var places: [String: Int] = [:]
        for (place, column) in columns.enumerated() {
            precondition(
                places.updateValue(place, forKey: column.name) == nil, "two columns are called '\(column.name)'")
        }
        return places
    }
}

/// A value of a row; a row is a list of them, one for each column.
///
/// Two texts are equal here when they are equal as Swift strings, and -0.0 equals 0.0. Both are written and read as they are:
/// texts to the byte, numbers to the bit.
public enum TrainingValue: Sendable, Hashable {
    /// No value.
    case null
    /// A whole number.
    case integer(Int64)
    /// A number; only finite ones can be written.
    case real(Double)
    /// Yes or no.
    case boolean(Bool)
    /// A text, or a moment in the form of ``TrainingColumnType/timestamp``.
    case text(String)
    /// A JSON text, kept as it is.
    case json(String)
}
