/// A subcommand: what its help says and what its command line may hold.
///
/// The parser, the USAGE line and the help text are all made from this value, so they can't disagree.
struct CommandSpecification: Sendable {
    let name: String
    /// One line, an imperative sentence.
    let abstract: String
    /// What the command reads, does and writes: paragraphs, to be wrapped.
    let discussion: [String]
    let arguments: [PositionalSpecification]
    let options: [OptionSpecification]
    let examples: [Example]
    /// The exit codes this command can end with, besides success and wrong usage.
    let exitCodes: [ExitCode]

    /// A command line to copy, and what it does.
    struct Example: Sendable {
        let line: String
        let explanation: String
    }
}

/// An argument known by its place.
struct PositionalSpecification: Sendable {
    /// As it stands in the help, for instance `DIR`.
    let name: String
    let help: String
    /// The environment variable whose value stands in when the argument isn't given.
    var environment: String?
    /// The flag that can be given in its stead (long name without dashes).
    var alternative: String?
}

/// An option: a flag, or a name with a value.
struct OptionSpecification: Sendable {
    /// Without the leading dashes.
    let long: String
    let short: Character?
    let kind: Kind
    let help: String

    enum Kind: Sendable {
        /// `--long` and `--no-long`.
        case flag(initially: Bool)
        /// `--long VALUE`, `--long=VALUE`, `-s VALUE`.
        case value(name: String, rule: ValueRule, default: String?)
    }

    static func flag(
        _ long: String, short: Character? = nil, initially: Bool = false, help: String
    ) -> OptionSpecification {
        OptionSpecification(long: long, short: short, kind: .flag(initially: initially), help: help)
    }

    static func value(
        _ long: String, short: Character? = nil, _ name: String, _ rule: ValueRule, default initial: String? = nil,
        help: String
    ) -> OptionSpecification {
        OptionSpecification(
            long: long, short: short, kind: .value(name: name, rule: rule, default: initial), help: help)
    }
}

/// What an option's value must look like.
enum ValueRule: Sendable, Equatable {
    /// Any path that isn't empty; with a suffix, one that ends in it.
    case path(suffix: String?)
    /// Any text that isn't empty; says what it is, with its article.
    case text(String)
    /// Letters, digits, `.`, `_` and `-`, beginning with a letter or digit: a part of a file name, never a path.
    case name
    /// A whole number in a range.
    case integer(ClosedRange<Int>)
    /// A number in a range.
    case number(ClosedRange<Double>)
    /// One of these words.
    case choice([String])
    /// One or more of these words, separated by commas, none twice.
    case list([String])
}

/// A value that passed its rule.
enum ArgumentValue: Sendable, Equatable {
    case text(String)
    case integer(Int)
    case number(Double)
    case list([String])
}
