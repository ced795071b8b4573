import Attune

/// What the commands that read training data have in common: which rows.
struct DataArguments {
    let from: Timestamp?
    let until: Timestamp?
    let filter: RecordFilter?

    static let options: [OptionSpecification] = [
        .value(
            "from", "DATE", .text("a date or moment in UTC"),
            help: "Rows that began then or later, such as 2026-11-01 or 2026-11-01T08:30."),
        .value(
            "until", "DATE", .text("a date or moment in UTC"),
            help: "Rows that began before it; a date without a time includes that day."),
        .value(
            "where", "FILTER", .text("a filter"),
            help:
                "Rows that fit: COLUMN=VALUE, or != < <= > >= or ~ (contains); several with ' AND ' between them, which no value can have."
        ),
    ]

    init(_ arguments: ParsedArguments, _ kind: TrainingKind, _ command: CommandSpecification) throws(UsageError) {
        func moment(_ name: String, isEnd: Bool) throws(UsageError) -> Timestamp? {
            guard let text = arguments.text(name) else { return nil }
            guard let moment = Timestamp(utc: text, isEnd: isEnd) else {
                throw UsageError(
                    "'--\(name)' takes a date or moment in UTC, such as 2026-11-28 or 2026-11-28T05:11:09; this is \(quoted(text)).",
                    command: command.name)
            }
            return moment
        }
        from = try moment("from", isEnd: false)
        until = try moment("until", isEnd: true)
        guard let text = arguments.text("where") else {
            filter = nil
            return
        }
        do throws(RecordError) { filter = try RecordFilter(all: text, of: kind) } catch {
            throw UsageError("'--where': \(error.message).", command: command.name)
        }
    }

    /// A kind by its name on the command line.
    static func kind(_ arguments: ParsedArguments) -> TrainingKind {
        arguments.text("kind").flatMap { TrainingKind(rawValue: $0) } ?? .modelCalls
    }

    static let kind: OptionSpecification = .value(
        "kind", "KIND", .choice(TrainingKind.allCases.map(\.rawValue)), default: TrainingKind.modelCalls.rawValue,
        help: "The kind of rows.")
}
