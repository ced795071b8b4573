/// Help in the layout of swift-argument-parser: OVERVIEW, USAGE, ARGUMENTS, OPTIONS, SUBCOMMANDS, and below them
/// EXAMPLES and EXIT CODES. Always 80 columns, so that it is the same text everywhere.
enum HelpText {
    private static let width = 80
    private static let column = 26

    /// What `attune help` prints.
    static func root(commands: [CommandSpecification]) -> String {
        var text = """
            OVERVIEW: Personalize embeddings: one low-rank adapter for every user, trained
            in process from that user's feedback.

            USAGE: attune COMMAND [options]

            OPTIONS:

            """
        text += row("--version", "Show the version.")
        text += row("-h, --help", "Show help information.")
        text += "\nSUBCOMMANDS:\n"
        for command in commands { text += row(command.name, command.abstract) }
        text += row("help", "Show help for a command: 'attune help personalize'.")
        text += "\nENVIRONMENT:\n"
        text += row("ATTUNE_DATA", "The data folder to use where a command takes DIR and none is given.")
        text += examples([
            .init(line: "attune personalize --synthetic", explanation: "See adapters learn; needs no data."),
            .init(line: "attune help evaluate", explanation: "What a command does, and its options."),
        ])
        text += exitCodes(ExitCode.allCases)
        return text
    }

    /// What `attune help GROUP` prints, for commands of two words.
    static func group(_ name: String, commands: [CommandSpecification]) -> String {
        var text =
            "OVERVIEW: The commands of 'attune \(name)'.\n\nUSAGE: attune \(name) COMMAND [options]\n\nSUBCOMMANDS:\n"
        for command in commands { text += row(command.name, command.abstract) }
        text += "\n" + wrap("'attune help \(commands[0].name)' says more of one.", indent: 0)
        return text
    }

    /// What `attune help COMMAND` prints.
    static func command(_ command: CommandSpecification) -> String {
        var text = wrap("OVERVIEW: " + command.abstract, indent: 0) + "\n"
        for paragraph in command.discussion { text += wrap(paragraph, indent: 0) + "\n" }
        text += usage(command) + "\n"
        if !command.arguments.isEmpty {
            text += "ARGUMENTS:\n"
            for argument in command.arguments {
                let note = argument.environment.map { " (environment: \($0))" } ?? ""
                text += row(argument.name, argument.help + note)
            }
            text += "\n"
        }
        text += "OPTIONS:\n"
        for option in command.options { text += row(label(option), option.help + note(option)) }
        text += row("-h, --help", "Show help information.")
        text += examples(command.examples)
        text += exitCodes(ExitCode.allCases.filter { $0 == .success || $0 == .usage || command.exitCodes.contains($0) })
        return text
    }

    /// What standard error gets for a command line that can't be obeyed.
    static func usageError(_ error: UsageError, commands: [CommandSpecification]) -> String {
        var text = "Error: \(error.message)\n"
        if let command = commands.first(where: { $0.name == error.command }) {
            text += usage(command, heading: "Usage")
            text += "  See 'attune help \(command.name)' for more information.\n"
        } else {
            text += "Usage: attune COMMAND [options]\n  See 'attune help' for more information.\n"
        }
        return text
    }

    // MARK: Parts

    private static func usage(_ command: CommandSpecification, heading: String = "USAGE") -> String {
        var words = ["attune \(command.name)"]
        let replacing = Set(command.arguments.compactMap(\.alternative))
        for argument in command.arguments {
            words.append(argument.alternative.map { "(\(argument.name) | --\($0))" } ?? argument.name)
        }
        for option in command.options where !replacing.contains(option.long) {
            switch option.kind {
            case .flag(let initially): words.append("[--\(initially ? "no-" : "")\(option.long)]")
            case .value(let name, _, _): words.append("[--\(option.long) \(name)]")
            }
        }
        // An option and its value stay on one line: broken between words of this list only.
        var text = heading + ":"
        var length = text.count
        for word in words {
            if length + 1 + word.count > width {
                text += "\n          "
                length = 10
            }
            text += " " + word
            length += 1 + word.count
        }
        return text + "\n"
    }

    private static func label(_ option: OptionSpecification) -> String {
        let short = option.short.map { "-\($0), " } ?? ""
        switch option.kind {
        case .flag(initially: false): return "\(short)--\(option.long)"
        case .flag(initially: true): return "\(short)--\(option.long)/--no-\(option.long)"
        case .value(let name, _, _): return "\(short)--\(option.long) \(name)"
        }
    }

    private static func note(_ option: OptionSpecification) -> String {
        guard case .value(_, let rule, let initial) = option.kind else {
            if case .flag(initially: true) = option.kind { return " (default: --\(option.long))" }
            return ""
        }
        var facts: [String] = []
        switch rule {
        case .integer(let range): facts.append("\(range.lowerBound) to \(range.upperBound)")
        case .number(let range): facts.append("\(range.lowerBound) to \(range.upperBound)")
        case .choice(let words): facts.append("values: " + words.joined(separator: ", "))
        case .list(let words): facts.append("values, separated by commas: " + words.joined(separator: ", "))
        case .path, .text, .name: break
        }
        if let initial {
            if case .list(let words) = rule, initial == words.joined(separator: ",") {
                facts.append("default: all")
            } else {
                facts.append("default: \(initial)")
            }
        }
        return facts.isEmpty ? "" : " (" + facts.joined(separator: "; ") + ")"
    }

    private static func examples(_ examples: [CommandSpecification.Example]) -> String {
        guard !examples.isEmpty else { return "" }
        var text = "\nEXAMPLES:\n"
        for example in examples {
            text += "  \(example.line)\n" + wrap(example.explanation, indent: 6)
        }
        return text
    }

    private static func exitCodes(_ codes: [ExitCode]) -> String {
        var text = "\nEXIT CODES:\n"
        for code in codes { text += row("\(code.rawValue)", code.meaning) }
        return text
    }

    private static func row(_ label: String, _ help: String) -> String {
        let lead = "  " + label
        let body = wrap(help, indent: column)
        guard lead.count < column else { return lead + "\n" + body }
        return lead + body.dropFirst(lead.count)
    }

    /// Fills lines of words up to the width, each behind `indent` spaces; ends with a newline.
    static func wrap(_ text: String, indent: Int) -> String {
        let margin = String(repeating: " ", count: indent)
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, indent + line.count + 1 + word.count > width {
                lines.append(line)
                line = ""
            }
            line += line.isEmpty ? String(word) : " " + word
        }
        lines.append(line)
        return lines.map { margin + $0 + "\n" }.joined()
    }
}
