import Attune

/// `attune config`: the defaults of the engine.
struct ConfigCommand: Command {
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "config",
        abstract: "Print the engine's default configuration.",
        discussion: [
            "Every setting with its value and unit: dimension and rank limits, objective, learning rate, clipping, "
                + "optimizer, schedule, protection against forgetting, seed. These are the values that the library "
                + "uses where a program doesn't set its own, and that the method 'engine' of 'attune evaluate' runs "
                + "with.",
            "Below them this machine: the processor, the instructions that the kernels use, and which BLAS runs how. A "
                + "line 'blas note' says when OpenBLAS would use or uses its kernels for an older processor. Where that "
                + "was its own choice, attune starts it with those that fit; where the environment says so, the note "
                + "says what to set.",
        ],
        arguments: [],
        options: [.format],
        examples: [
            .init(line: "attune config", explanation: "As a table."),
            .init(line: "attune config --format json > attune.json", explanation: "As one JSON object."),
        ],
        exitCodes: [.internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        // The dimension comes from the user's model; every other setting has its default.
        let settings = EngineConfiguration(dimension: Self.exampleDimension).settings
        let machine = MachineDescription.current
        switch format {
        case .json:
            console.write(Self.json(settings, machine).text + "\n")
        case .text:
            var table = TextTable()
            for setting in settings { table.add([setting.name, setting.value.text, setting.explanation]) }
            console.write("The engine's defaults (dimension: an example)\n\n" + table.text)
            table = TextTable()
            for (name, value) in machine.facts { table.add([name, value]) }
            console.write("\nThis machine\n\n" + table.text)
        }
    }

    private static let exampleDimension = 384

    private static func json(_ settings: [Setting], _ machine: MachineDescription) -> JSONText {
        .object([
            ("version", .string(App.version)),
            ("settings", .object(settings.map { ($0.name, $0.value.json) })),
            ("machine", .object(machine.facts.map { ($0.name, .string($0.value)) })),
        ])
    }
}

extension Setting.Value {
    var text: String {
        switch self {
        case .text(let value): value
        case .number(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .flag(let value): value ? "yes" : "no"
        }
    }

    var json: JSONText {
        switch self {
        case .text(let value): .string(value)
        case .number(let value): .number(value)
        case .integer(let value): .integer(value)
        case .flag(let value): .bool(value)
        }
    }
}
