import TensorCore

@testable import AttuneCommand

/// Keeps what is written; fails on demand.
final class RecordingSink: TextSink {
    let isTerminal: Bool
    private let failure: OutputFailure?
    private let bytes = Lock<[UInt8]>([])
    private let calls = Lock(0)

    init(isTerminal: Bool = false, failure: OutputFailure? = nil) {
        self.isTerminal = isTerminal
        self.failure = failure
    }

    var text: String { String(decoding: bytes.withLock { $0 }, as: UTF8.self) }
    /// How often something was written, in vain or not.
    var writes: Int { calls.withLock { $0 } }

    func write(_ new: [UInt8]) -> OutputFailure? {
        calls.withLock { $0 += 1 }
        if let failure { return failure }
        bytes.withLock { $0 += new }
        return nil
    }
}

/// A clock that stands still until it is set.
final class ManualClock: Sendable {
    private let time = Lock(Duration.zero)

    func set(_ new: Duration) { time.withLock { $0 = new } }
    var now: Duration { time.withLock { $0 } }
}

/// What one command line printed and how it ended.
struct Transcript {
    let code: ExitCode
    let output: String
    let errors: String
}

/// Runs a command line in this process, with an environment of its own.
func attune(
    _ arguments: String..., environment: [String: String] = [:], outputFailure: OutputFailure? = nil
) async -> Transcript {
    await attune(arguments: arguments, environment: environment, outputFailure: outputFailure)
}

/// The same with arguments that are made beforehand.
func attune(
    arguments: [String], environment: [String: String] = [:], outputFailure: OutputFailure? = nil
) async -> Transcript {
    let output = RecordingSink(failure: outputFailure)
    let errors = RecordingSink()
    let app = App(
        environment: { environment[$0] },
        console: Console(output: output, errors: errors, now: { .zero }))
    let code = await app.execute(arguments)
    return Transcript(code: code, output: output.text, errors: errors.text)
}

/// Parses arguments for a command, without running it.
func parse(
    _ arguments: [String], for command: any Command.Type, environment: [String: String] = [:]
) throws(UsageError) -> ParsedArguments? {
    let parser = ArgumentParser(specification: command.specification, environment: { environment[$0] })
    switch try parser.parse(arguments) {
    case .help: return nil
    case .arguments(let parsed): return parsed
    }
}
