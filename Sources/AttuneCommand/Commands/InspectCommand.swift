import Attune

/// `attune inspect`: what one adapter file holds.
struct InspectCommand: Command {
    /// The path of the adapter file.
    let adapter: String
    let format: OutputFormat

    static let specification = CommandSpecification(
        name: "inspect",
        abstract: "Show what an adapter file holds.",
        discussion: [
            "Reads one .safetensors file as 'attune personalize --output' writes it, checks it, and prints the user, "
                + "version, dimension, rank, scale, norms of the factors and bytes held. The file isn't changed."
        ],
        arguments: [
            PositionalSpecification(name: "ADAPTER", help: "An adapter file (.safetensors).")
        ],
        options: [.format],
        examples: [
            .init(
                line: "attune inspect adapters/42.safetensors",
                explanation: "The adapter of user 42, as a table."),
            .init(
                line: "attune inspect --format json -- -odd-name.safetensors",
                explanation: "What follows '--' is never taken for an option."),
        ],
        exitCodes: [.badData, .noInput, .internalError, .ioError])

    init(_ arguments: ParsedArguments) throws(UsageError) {
        guard let adapter = arguments.positional("ADAPTER") else { preconditionFailure("ADAPTER isn't declared") }
        self.adapter = adapter
        format = arguments.format
    }

    func run(_ console: Console) async throws {
        let record = try AdapterFile.read(adapter)
        let shape = record.adapter.shape
        let down = record.adapter.down.array
        let up = record.adapter.up.array
        func norm(_ values: [Float]) -> Double { values.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot() }
        let facts: [(name: String, value: JSONText)] = [
            ("user", .string(record.user)), ("embedding_model", .string(record.embeddingModel)),
            ("dimension", .integer(shape.dimension)), ("rank", .integer(shape.rank)),
            ("alpha", .number(Double("\(shape.alpha)") ?? Double(shape.alpha))),
            ("scaling", .string(shape.scaling.rawValue)),
            ("scale", .number(Double("\(shape.scale)") ?? Double(shape.scale))),
            ("bias", .bool(shape.hasBias)), ("normalizes_output", .bool(shape.normalizesOutput)),
            ("version", .string("\(record.adapter.version)")), ("steps", .string("\(record.adapter.steps)")),
            ("norm_a", .number(norm(down))), ("norm_b", .number(norm(up))),
            ("norm_bias", record.adapter.bias.map { .number(norm($0)) } ?? .null),
            ("norm_product", .number(record.adapter.productNorm)),
            ("bytes", .integer(record.adapter.byteCount)),
            ("state_hash", .string(hexadecimal(record.adapter.stateHash))),
        ]
        switch format {
        case .json: console.write(JSONText.object(facts).text + "\n")
        case .text:
            var table = TextTable()
            for (name, value) in facts { table.add([name, TextTable.plain(value)]) }
            console.write(table.text)
        }
    }
}

/// 16 hexadecimal digits.
private func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
