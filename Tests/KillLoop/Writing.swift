import LoRA
import Personalization
import SQLiteStorage
import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// The half that is killed.
enum Writing {
    static func run(_ path: String, round: Int) async throws {
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(
            configuration: Script.configuration(round: round), store: storage, journal: storage)
        let catalogue = try Script.catalogue()
        let bank = try await Banking(storage)
        let records = try await Capturing(storage)
        say(.round)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<Script.writers {
                group.addTask { try await learn(writer, round, engine, storage, catalogue) }
            }
            group.addTask { try await bank.store(round) }
            group.addTask { try await bank.consolidate() }
            group.addTask { try await records.record() }
            let telling = Telling(records.store)
            group.addTask { try await telling.tell() }
            for topic in Telling.topics { group.addTask { try await telling.follow(topic) } }
            group.addTask { try await telling.learn(engine) }
            // Much more often than an application would, so that kills hit it.
            group.addTask {
                while true {
                    try await Task.sleep(for: .milliseconds(3))
                    try await storage.settle()
                }
            }
            try await group.waitForAll()
        }
    }

    private static func learn(
        _ writer: Int, _ round: Int, _ engine: PersonalizationEngine, _ storage: SQLiteStorage,
        _ catalogue: ItemCatalogue
    ) async throws {
        var generations = [Int](repeating: 0, count: Script.usersOfWriter)
        for number in generations.indices {
            while try await storage.isForgotten(Script.user(writer, number, generation: generations[number])) {
                generations[number] += 1
            }
        }
        var random = PhiloxGenerator(seed: UInt64(round), stream: UInt64(writer), purpose: .general)
        while true {
            for number in generations.indices {
                let user = Script.user(writer, number, generation: generations[number])
                let version = try await engine.adapter(for: user)?.version ?? 0
                if version > 0, random.bernoulli(0.01) {
                    say(.forgettingUser(user))
                    let receipt = try await engine.forget(user)
                    say(.forgotUser(user, isErased: receipt.isErased))
                    generations[number] += 1
                } else if version > 0, random.bernoulli(0.03) {
                    // What is named may have been forgotten before, or be a correction.
                    let piece = version - min(version - 1, UInt64(random.integer(below: 60)))
                    say(.forgettingPiece(user, piece))
                    do {
                        let receipt = try await engine.forgetFeedback(Script.id(user, before: piece - 1), of: user)
                        say(.forgotPiece(user, piece, version: receipt.version))
                    } catch let error as EngineError where error.code == .unknownFeedback {}
                } else {
                    let report = try await engine.updateAdapter(
                        for: user, with: Script.feedback(user, version, catalogue), id: Script.id(user, before: version)
                    )
                    say(.updated(user, report.version))
                }
            }
        }
    }
}

/// One write each, so that a line is there whole or not at all.
func say(_ line: Line) { say(line.text) }

func say(_ text: String) {
    var bytes = Array(text.utf8)
    let written = unsafe write(1, &bytes, bytes.count)
    precondition(written == bytes.count, "a file takes a short line whole")
}
