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

// Two halves of scripts/kill-loop:
//
//   KillLoop write FILE ROUND      four writers; prints a line for each acknowledged update; runs until it is killed
//   KillLoop check FILE ACKS       whether every acknowledged update is there, in order, and nothing but whole updates

/// What every writer does: so that an update's feedback follows from its user and version.
enum Script {
    static let dimension = 16
    static let writers = 4
    static let usersOfWriter = 2

    static func catalogue() throws -> ItemCatalogue {
        var generator = PhiloxGenerator(seed: 1, stream: 1, purpose: .initialization)
        let rows = (0..<50).map { _ in (0..<dimension).map { _ in generator.uniformFloat() - 0.5 } }
        return try ItemCatalogue(vectors: try Matrix(rows: rows))
    }

    static func users(of writer: Int) -> [String] { (0..<usersOfWriter).map { "user \(writer).\($0)" } }

    /// The feedback that makes a user's adapter of `version` the next one.
    static func feedback(_ user: String, _ version: UInt64, _ catalogue: ItemCatalogue) -> [Feedback] {
        var generator = PhiloxGenerator(seed: version, stream: StableHash.hash(user), purpose: .initialization)
        let item = Int(version % 50)
        if version % 3 == 0 {
            let vector = (0..<dimension).map { _ in generator.uniformFloat() - 0.5 }
            return [Feedback(embedding: vector, signal: .target(vector.reversed()))]
        }
        return [Feedback(of: item, in: catalogue, signal: .like((item + 7) % 50, in: catalogue, seen: [item]))]
    }

    static func configuration(round: Int) -> EngineConfiguration {
        EngineConfiguration(
            dimension: dimension, rank: 2, seed: 3, durability: round % 2 == 0 ? .synced : .buffered,
            checkpoints: CheckpointPolicy(updatesPerUser: 32, updates: 500))
    }
}

@main
enum KillLoop {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 4 else { fail("usage: KillLoop write FILE ROUND | check FILE ACKS") }
        switch arguments[1] {
        case "write": try await learn(arguments[2], round: Int(arguments[3]) ?? 0)
        case "check": try await check(arguments[2], acks: arguments[3])
        default: fail("unknown: \(arguments[1])")
        }
    }

    static func fail(_ message: String) -> Never {
        print("FAILED: \(message)")
        exit(1)
    }

    private static func learn(_ path: String, round: Int) async throws {
        let storage = try await SQLiteStorage(path: path)
        let engine = try PersonalizationEngine(
            configuration: Script.configuration(round: round), store: storage, journal: storage)
        let catalogue = try Script.catalogue()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<Script.writers {
                group.addTask {
                    let users = Script.users(of: writer)
                    while true {
                        for user in users {
                            let version = try await engine.adapter(for: user)?.version ?? 0
                            let report = try await engine.updateAdapter(
                                for: user, with: Script.feedback(user, version, catalogue),
                                id: FeedbackID("\(user) \(version)"))
                            say("\(user)\t\(report.version)\n")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// One write each, so that a line is there whole or not at all.
    private static func say(_ line: String) {
        var bytes = Array(line.utf8)
        let written = unsafe write(1, &bytes, bytes.count)
        precondition(written == bytes.count, "a pipe takes a short line whole")
    }

    private static func check(_ path: String, acks: String) async throws {
        var acknowledged: [String: UInt64] = [:]
        var count = 0
        for line in try lines(acks) {
            let parts = line.split(separator: "\t")
            guard parts.count == 2, let version = UInt64(parts[1]) else { continue }
            let user = String(parts[0])
            // One user's acknowledgements rise by one: they are applied in order.
            if let last = acknowledged[user], version != last + 1 { fail("\(user): version \(version) after \(last)") }
            acknowledged[user] = version
            count += 1
        }
        let storage = try await SQLiteStorage(path: path)
        let configuration = Script.configuration(round: 0)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let catalogue = try Script.catalogue()
        let shape = try configuration.validatedShape()
        for user in (0..<Script.writers).flatMap(Script.users) {
            let adapter = try await engine.adapter(for: user)
            let version = adapter?.version ?? 0
            if version < acknowledged[user] ?? 0 {
                fail("\(user): version \(acknowledged[user] ?? 0) was acknowledged, \(version) is there")
            }
            guard let adapter else { continue }
            var reference = LoRAAdapter(shape: shape, identity: AdapterIdentity(seed: configuration.seed, user: user))
            for step in 0..<version {
                _ = try reference.update(
                    with: Script.feedback(user, step, catalogue), configuration: configuration.update)
            }
            if reference.snapshot() != adapter.snapshot() {
                fail("\(user): version \(version) has other bytes than its reference")
            }
        }
        let verification = try await JournalVerification.run(storage, storage)
        if let mismatch = verification.mismatches.first { fail("\(mismatch.user): \(mismatch.reason)") }
        await storage.close()
        print(
            "\(count) acknowledged, \(verification.entries) entries, \(verification.unsavedEntries) in the journal alone"
        )
    }

    private static func lines(_ path: String) throws -> [Substring] {
        let source = try ByteSource(path: path)
        let bytes = try source.bytes(0..<source.count)
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    }
}
