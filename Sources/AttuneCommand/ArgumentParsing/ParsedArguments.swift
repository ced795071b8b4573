/// The arguments of one command, checked against its specification: every value has passed its rule, every default is
/// filled in, and an argument that must be there is there.
///
/// Asking for a name that the specification doesn't declare, or for another kind of value, is a mistake in the command's
/// code and traps.
struct ParsedArguments: Sendable, Equatable {
    var positionals: [String: String] = [:]
    var values: [String: ArgumentValue] = [:]
    var flags: [String: Bool] = [:]
    /// The options that stood on the command line, as opposed to those that have their default.
    var given: Set<String> = []

    /// The positional argument of that name, from the command line or its environment variable.
    func positional(_ name: String) -> String? { positionals[name] }

    /// The state of a flag.
    func flag(_ long: String) -> Bool {
        guard let value = flags[long] else { preconditionFailure("no flag --\(long) is declared") }
        return value
    }

    /// The text of an option, or nil when it wasn't given and has no default.
    func text(_ long: String) -> String? {
        switch values[long] {
        case .text(let text): text
        case nil: nil
        default: preconditionFailure("--\(long) isn't declared as text")
        }
    }

    /// The number of an option that has a default.
    func integer(_ long: String) -> Int {
        guard case .integer(let number) = values[long] else {
            preconditionFailure("--\(long) isn't declared as a whole number with a default")
        }
        return number
    }

    /// The number, not necessarily whole, of an option that has a default.
    func number(_ long: String) -> Double {
        guard case .number(let number) = values[long] else {
            preconditionFailure("--\(long) isn't declared as a number with a default")
        }
        return number
    }

    /// The words of a list option that has a default.
    func list(_ long: String) -> [String] {
        guard case .list(let words) = values[long] else {
            preconditionFailure("--\(long) isn't declared as a list with a default")
        }
        return words
    }
}
