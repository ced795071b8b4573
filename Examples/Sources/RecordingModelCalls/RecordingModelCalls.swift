import Attune
import Foundation

/// Every call of a model is kept, with what went in and came out, without a change to what the application gets: answers, errors
/// and streams come as they are. What was recorded can be asked in Swift, in SQL and in files.
///
///     swift run RecordingModelCalls [FOLDER]
///
/// leaves `attune.db` and the files of the recording in a folder, to be looked at; without one all is gone at the end.
@main
struct RecordingModelCalls {
    static func main() async throws {
        let kept = CommandLine.arguments.dropFirst().first
        let folder = kept ?? NSTemporaryDirectory() + "attune-recording-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { if kept == nil { try? FileManager.default.removeItem(atPath: folder) } }

        let storage = try await SQLiteStorage(path: folder + "/attune.db")
        let records = try await SQLiteRecordStore(storage)
        let recorder = try ModelCallRecorder(store: records)
        let model = ScriptedModel()

        // Before anything is switched on a call is a call.
        let unrecorded = try await ask(model, "Hello?", recorder, of: "ada")
        print("Not recorded: \(unrecorded)")

        let files = RecordFiles(folder: folder + "/training_recording")
        try await recorder.enable(.agent("support"), .enhanced(files), by: "ann")

        print(try await ask(model, "Where is parcel 12? I am ada@example.org.", recorder, of: "ada"))
        print(try await ask(model, "My card is 4111 1111 1111 1111.", recorder, of: "bob"))
        do {
            print(try await ask(model, "Tell me a secret.", recorder, of: "bob"))
        } catch {
            // The model's own error, unchanged; nobody asked it twice.
            print("Refused: \(error.reason)")
        }

        // A stream comes piece by piece, as the model gives it.
        let call = ModelCall("TEXT_LARGE", provider: "scripted", context: SpanContext(agent: "support", entity: "eve"))
        let stream = try await recorder.recordStream(call, input: .text("Count to three.")) {
            model.count(to: 3)
        } chunk: {
            ModelChunk($0)
        }
        for await word in stream { print(word, terminator: " ") }
        print()
        // One that is let go of half-way.
        try await giveUp(model, recorder)

        let status = try await recorder.disable(.agent("support"), flushWithin: .seconds(60), by: "ann")
        print("\n\(status.total) calls: \(status.successful) successful, \(status.failed) failed or cancelled.")
        print("The model was asked \(await model.asked) questions.\n")

        var query = SpanQuery()
        query.recording = status.id
        for span in try await records.spans(query) {
            print(
                span.context.entity ?? "-", span.status.rawValue, text(span.contents[.input]),
                text(span.contents[.output]))
        }
        if let session = status.folder {
            let names = try FileManager.default.contentsOfDirectory(atPath: session)
            print("\n\(names.count { $0 != "session_summary.json" }) record files and a summary.")
        }

        // Whoever wants to be forgotten is: the contents of her calls are deleted.
        let erased = try await records.eraseContents(about: "ada")
        print("Contents erased: \(erased).")
        await storage.close()
    }

    static func ask(
        _ model: ScriptedModel, _ question: String, _ recorder: ModelCallRecorder, of user: String
    ) async throws(ScriptedModel.Refusal) -> String {
        let call = ModelCall(
            "TEXT_LARGE", provider: "scripted", model: "parrot-1", context: SpanContext(agent: "support", entity: user))
        return try await recorder.record(call, input: .text(question)) { () async throws(ScriptedModel.Refusal) in
            try await model.answer(question)
        } output: {
            ModelOutput(.text($0), model: "parrot-1", inputTokens: Int64(question.split(separator: " ").count))
        }
    }

    static func giveUp(_ model: ScriptedModel, _ recorder: ModelCallRecorder) async throws {
        let call = ModelCall("TEXT_LARGE", provider: "scripted", context: SpanContext(agent: "support", entity: "eve"))
        let stream = try await recorder.recordStream(call, input: .text("Count to a thousand.")) {
            model.count(to: 1_000)
        } chunk: {
            ModelChunk($0)
        }
        for await word in stream where word == "2" { return print("That is enough.") }
    }

    static func text(_ content: RecordContent?) -> String {
        switch content {
        case .text(let text)?, .json(let text)?: "\"\(text)\""
        case nil: "-"
        }
    }
}

/// A model with an answer to everything.
actor ScriptedModel {
    struct Refusal: Error { let reason: String }

    private(set) var asked = 0

    func answer(_ question: String) throws(Refusal) -> String {
        asked += 1
        if question.contains("secret") { throw Refusal(reason: "I keep those.") }
        return question.contains("parcel") ? "On its way." : "Thank you."
    }

    nonisolated func count(to last: Int) -> AsyncStream<String> {
        AsyncStream { continuation in
            for number in 1...last { continuation.yield("\(number)") }
            continuation.finish()
        }
    }
}
