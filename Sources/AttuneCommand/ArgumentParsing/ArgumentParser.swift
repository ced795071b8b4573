/// Reads one command's arguments by its specification.
///
/// Accepted are `--long VALUE`, `--long=VALUE`, `-s VALUE`, `-s=VALUE`, `--flag`, `--no-flag`, several short flags in
/// one word (`-ab`), and `--`, after which everything is positional. A value that begins with `-` and isn't a number or
/// a lone `-` must be joined with `=`, so that a forgotten value is noticed. An option given twice is an error; of a
/// flag and its `--no-` form the last one counts. `--help` or `-h` anywhere before `--` wins over everything else.
struct ArgumentParser: Sendable {
    let specification: CommandSpecification
    /// Looks up an environment variable.
    let environment: @Sendable (String) -> String?

    /// What the arguments ask for.
    enum Outcome: Sendable, Equatable {
        case help
        case arguments(ParsedArguments)
    }

    /// Reads the arguments that follow the command's name.
    ///
    /// - Throws: ``UsageError`` for the first thing that is wrong, from left to right.
    func parse(_ arguments: [String]) throws(UsageError) -> Outcome {
        for argument in arguments {
            if argument == "--" { break }
            if argument == "--help" || argument == "-h" { return .help }
        }
        var parsed = try initialArguments()
        var positionals: [String] = []
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if argument == "--" {
                positionals += rest
                break
            }
            if argument.hasPrefix("--") {
                try readLong(argument, &rest, into: &parsed)
            } else if argument.hasPrefix("-"), argument != "-" {
                try readShort(argument, &rest, into: &parsed)
            } else {
                positionals.append(argument)
            }
        }
        try assign(positionals, in: &parsed)
        return .arguments(parsed)
    }

    private func fail(_ message: String) -> UsageError { UsageError(message, command: specification.name) }

    private func initialArguments() throws(UsageError) -> ParsedArguments {
        var parsed = ParsedArguments()
        for option in specification.options {
            switch option.kind {
            case .flag(let initially): parsed.flags[option.long] = initially
            case .value(_, let rule, let initial):
                if let initial { parsed.values[option.long] = try check(initial, rule, named: "--\(option.long)") }
            }
        }
        return parsed
    }

    // MARK: Options

    private func readLong(
        _ argument: String, _ rest: inout ArraySlice<String>, into parsed: inout ParsedArguments
    ) throws(UsageError) {
        let body = argument.dropFirst(2)
        let split = body.firstIndex(of: "=")
        let name = String(body[..<(split ?? body.endIndex)])
        let joined = split.map { String(body[body.index(after: $0)...]) }
        for option in specification.options {
            switch option.kind {
            case .value where option.long == name:
                try store(option, shown: "--\(name)", joined: joined, &rest, into: &parsed)
                return
            case .flag where option.long == name || "no-" + option.long == name:
                guard joined == nil else { throw fail("'--\(name)' is a flag and takes no value.") }
                parsed.flags[option.long] = option.long == name
                parsed.given.insert(option.long)
                return
            default: continue
            }
        }
        throw unknown("--\(name)")
    }

    private func readShort(
        _ argument: String, _ rest: inout ArraySlice<String>, into parsed: inout ParsedArguments
    ) throws(UsageError) {
        var body = argument.dropFirst()
        while let letter = body.popFirst() {
            guard let option = specification.options.first(where: { $0.short == letter }) else {
                throw unknown(argument.count == 2 ? argument : "-\(letter)", in: argument)
            }
            switch option.kind {
            case .flag:
                parsed.flags[option.long] = true
                parsed.given.insert(option.long)
            case .value:
                guard body.isEmpty || body.first == "=" else {
                    throw fail("'-\(letter)' takes a value: write '-\(letter) VALUE' or '-\(letter)=VALUE'.")
                }
                let joined = body.isEmpty ? nil : String(body.dropFirst())
                try store(option, shown: "-\(letter)", joined: joined, &rest, into: &parsed)
                return
            }
        }
    }

    private func store(
        _ option: OptionSpecification, shown: String, joined: String?, _ rest: inout ArraySlice<String>,
        into parsed: inout ParsedArguments
    ) throws(UsageError) {
        guard case .value(let valueName, let rule, _) = option.kind else { return }
        guard parsed.given.insert(option.long).inserted else { throw fail("'--\(option.long)' is given twice.") }
        let text: String
        if let joined {
            text = joined
        } else if let next = rest.first, Self.canBeValue(next) {
            text = next
            rest.removeFirst()
        } else if let next = rest.first, next != "--" {
            throw fail(
                "'\(shown)' needs a value, \(valueName); \(quoted(next)) looks like an option. "
                    + "A value that begins with '-' is written '--\(option.long)=VALUE'.")
        } else {
            throw fail("'\(shown)' needs a value: '--\(option.long) \(valueName)'.")
        }
        parsed.values[option.long] = try check(text, rule, named: shown)
    }

    private static func canBeValue(_ word: String) -> Bool {
        guard word.hasPrefix("-"), word != "-" else { return true }
        return word.dropFirst().first.map { ("0"..."9").contains($0) } ?? false
    }

    private func unknown(_ name: String, in argument: String? = nil) -> UsageError {
        var known = ["--help"]
        for option in specification.options {
            known.append("--\(option.long)")
            if case .flag(initially: true) = option.kind { known.append("--no-\(option.long)") }
        }
        // '-rank' is a long option with a dash too few far more often than it is five short flags.
        let typed = argument ?? name
        let shown = typed == name ? quoted(name) : "\(quoted(name)) in \(quoted(typed))"
        return fail("unknown option \(shown).\(suggestion(for: typed, among: known))")
    }

    // MARK: Values

    private func check(_ text: String, _ rule: ValueRule, named name: String) throws(UsageError) -> ArgumentValue {
        switch rule {
        case .path(let suffix):
            guard !text.isEmpty else { throw fail("'\(name)' needs a path, not an empty text.") }
            if let suffix, !text.hasSuffix(suffix) || text == suffix || text.hasSuffix("/" + suffix) {
                throw fail("'\(name)' needs a file name that ends in '\(suffix)', not \(quoted(text)).")
            }
            return .text(text)
        case .text(let what):
            guard !text.isEmpty else { throw fail("'\(name)' needs \(what), not an empty text.") }
            return .text(text)
        case .name:
            guard Self.isName(text) else {
                throw fail(
                    "'\(name)' needs a name of letters, digits, '.', '_' and '-', not \(quoted(text)).")
            }
            return .text(text)
        case .integer(let range):
            guard let number = Int(text), range.contains(number) else {
                throw fail(
                    "'\(name)' needs a whole number from \(range.lowerBound) to \(range.upperBound), "
                        + "not \(quoted(text)).")
            }
            return .integer(number)
        case .number(let range):
            guard let number = Double(text), range.contains(number) else {
                throw fail(
                    "'\(name)' needs a number from \(range.lowerBound) to \(range.upperBound), not \(quoted(text)).")
            }
            return .number(number)
        case .choice(let words):
            guard words.contains(text) else {
                throw fail(
                    "'\(name)' is one of \(words.joined(separator: ", ")); \(quoted(text)) isn't."
                        + suggestion(for: text, among: words))
            }
            return .text(text)
        case .list(let words):
            var seen: [String] = []
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                let word = String(part)
                guard words.contains(word) else {
                    throw fail(
                        "'\(name)' takes \(words.joined(separator: ",")) or some of them; \(quoted(word)) isn't one."
                            + suggestion(for: word, among: words))
                }
                guard !seen.contains(word) else { throw fail("'\(name)' names \(quoted(word)) twice.") }
                seen.append(word)
            }
            return .list(seen)
        }
    }

    private static func isName(_ text: String) -> Bool {
        func isLetterOrDigit(_ byte: UInt8) -> Bool {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: false
            }
        }
        guard let first = text.utf8.first, isLetterOrDigit(first), text.utf8.count <= 128 else { return false }
        return text.utf8.allSatisfy {
            isLetterOrDigit($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
        }
    }

    // MARK: Positional arguments

    private func assign(_ words: [String], in parsed: inout ParsedArguments) throws(UsageError) {
        var rest = words[...]
        for argument in specification.arguments {
            if let alternative = argument.alternative, parsed.flag(alternative) { continue }
            if let word = rest.popFirst() {
                guard !word.isEmpty else { throw fail("\(argument.name) is empty.") }
                parsed.positionals[argument.name] = word
            } else if let variable = argument.environment, let value = environment(variable), !value.isEmpty {
                parsed.positionals[argument.name] = value
            } else {
                throw fail(missing(argument))
            }
        }
        if let extra = rest.first {
            for argument in specification.arguments where parsed.positionals[argument.name] == nil {
                guard let alternative = argument.alternative else { continue }
                throw fail("give \(argument.name) or '--\(alternative)', not both.")
            }
            let taken = specification.arguments.count
            throw fail(
                taken == 0
                    ? "'attune \(specification.name)' takes no arguments; \(quoted(extra)) is one too many."
                    : "\(quoted(extra)) is one argument too many.")
        }
    }

    private func missing(_ argument: PositionalSpecification) -> String {
        var text = "\(argument.name) is missing"
        if let alternative = argument.alternative { text += ": give it, or '--\(alternative)'" }
        if let variable = argument.environment { text += ", or set \(variable) in the environment" }
        return text + "."
    }
}
