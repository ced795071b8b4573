internal import Reasoning

/// Carries out commands in natural language that switch a recording on and off, and answers in words.
///
/// ```swift
/// let commands = RecordingCommands(recorder, configuration: .minimal) { request in request.actor == "ann" }
/// let reply = await commands.reply(to: "please turn on enhanced reasoning", from: "ann")
/// ```
///
/// What a text means is ``RecordingPhrase``'s to say. Every switch is an audit row in the store, and so is every refusal.
public struct RecordingCommands: Sendable {
    /// Who wants what.
    public struct Request: Sendable, Hashable {
        /// What is wanted.
        public var command: RecordingCommand
        /// By whom; the application's own name.
        public var actor: String
        /// Of which calls.
        public var scope: RecordingScope
    }

    /// What came of a text.
    public struct Reply: Sendable, Hashable {
        /// How far it came.
        public enum Outcome: Sendable, Hashable {
            /// The command was carried out.
            case done(RecordingCommand)
            /// The command could not be carried out: it was switched so already.
            case failed(RecordingCommand)
            /// The policy does not let this actor do it.
            case refused(RecordingCommand)
            /// It has to be asked what is meant.
            case question
            /// The text is no command.
            case nothing
        }

        /// How far it came.
        public var outcome: Outcome
        /// What to say; empty for a text that is no command.
        public var text: String
        /// What the recording has done, where there is one.
        public var status: RecordingStatus?
    }

    private let recorder: ModelCallRecorder
    private let configuration: RecordingConfiguration
    private let mayDo: @Sendable (Request) async -> Bool

    /// Commands for a recorder.
    ///
    /// - Parameters:
    ///   - configuration: What a recording that is switched on keeps.
    ///   - policy: Who may do what.
    public init(
        _ recorder: ModelCallRecorder, configuration: RecordingConfiguration,
        policy: @escaping @Sendable (Request) async -> Bool
    ) {
        (self.recorder, self.configuration, mayDo) = (recorder, configuration, policy)
    }

    /// Does what a text asks for, if it does and if this actor may.
    public func reply(
        to text: String, from actor: String, scope: RecordingScope = .everything
    ) async -> Reply {
        let command: RecordingCommand
        switch RecordingPhrase.meaning(of: text) {
        case .none: return Reply(outcome: .nothing, text: "", status: nil)
        case .ambiguous(let question): return Reply(outcome: .question, text: question, status: nil)
        case .command(let meant): command = meant
        }
        guard await mayDo(Request(command: command, actor: actor, scope: scope)) else {
            recorder.audit("recording refused", nil, by: actor, said: command.rawValue)
            return Reply(outcome: .refused(command), text: "You may not do that here.", status: nil)
        }
        do throws(RecordError) {
            switch command {
            case .enable:
                let status = try await recorder.enable(scope, configuration, by: actor)
                return Reply(outcome: .done(command), text: "Recording is on.\n\(facts(status))", status: status)
            case .disable:
                let status = try await recorder.disable(scope, by: actor)
                return Reply(outcome: .done(command), text: "Recording is off.\n\(facts(status))", status: status)
            case .checkStatus:
                guard let status = recorder.status(scope) else {
                    return Reply(outcome: .done(command), text: "Nothing is being recorded.", status: nil)
                }
                return Reply(outcome: .done(command), text: "Recording is on.\n\(facts(status))", status: status)
            }
        } catch {
            let status = recorder.status(scope)
            let what =
                switch error.code {
                case .notRecording: "Nothing is being recorded."
                case .alreadyRecording: "Recording is on already."
                default: "That could not be done: \(error.message)."
                }
            return Reply(
                outcome: .failed(command), text: status.map { "\(what)\n\(facts($0))" } ?? what, status: status)
        }
    }

    private func facts(_ status: RecordingStatus) -> String {
        let rate = status.successRate.map { "\(Int(($0 * 100).rounded())) %" } ?? "no calls yet"
        let seconds = Double(status.duration.components.seconds) + Double(status.duration.components.attoseconds) / 1e18
        var lines = [
            "Session: \(status.id)",
            "Kept in: \(recorder.store.place)\(status.folder.map { ", and files in \($0)" } ?? "")",
            "Calls: \(status.total) (\(status.successful) successful, \(status.failed) failed)",
            "Success rate: \(rate)", "Duration: \((seconds * 10).rounded() / 10) s",
        ]
        if let median = status.medianLatency, let high = status.latency95, let highest = status.latency99 {
            func milliseconds(_ latency: Double) -> String { "\((latency / 10).rounded() / 100) ms" }
            lines.append(
                "Latency: half within \(milliseconds(median)), 95 % within \(milliseconds(high)), "
                    + "99 % within \(milliseconds(highest))")
        }
        if status.dropped + status.sinkFailures + status.fileFailures + status.redactionFailures + status.unflushed > 0
        {
            lines.append(
                "Not kept: \(status.dropped) dropped, \(status.sinkFailures) failed, \(status.fileFailures) without a file, "
                    + "\(status.unflushed) still waiting; "
                    + "\(status.redactionFailures) without contents, which could not be redacted")
        }
        return lines.joined(separator: "\n")
    }
}
