import Foundation
import LoRA
import Personalization
import TensorCore
import Testing

@testable import SQLiteStorage

/// What updates and forgetting do in a file with damaged pages: all of it, or nothing and a typed error.
@Suite("Writing to damaged files", .timeLimit(.minutes(10)))
struct DamagedWritesTests {
    let folder: TemporaryFolder
    let script: ShopScript
    private static let users = (0..<6).map { "user \($0)" }
    private static let codes: [EngineError.Code] = [.storeFailed, .journalFailed, .damagedAdapter, .damagedJournal]

    init() throws {
        folder = try TemporaryFolder()
        script = try ShopScript()
    }

    private func engine(_ storage: SQLiteStorage) throws -> PersonalizationEngine {
        try PersonalizationEngine(configuration: ShopScript.configuration(), store: storage, journal: storage)
    }

    /// A file with saved adapters, settled and recent entries; the adapters.
    private func filled(_ path: String) async throws -> [String: [UInt8]] {
        let storage = try await SQLiteStorage(path: path)
        let engine = try engine(storage)
        for step in 0..<12 {
            for user in Self.users {
                _ = try await engine.updateAdapter(for: user, with: script.batch(user, step), id: FeedbackID("\(step)"))
            }
            if step == 6 { try await engine.checkpoint() }
            if step == 9 { try await storage.settle() }
        }
        var expected: [String: [UInt8]] = [:]
        for user in Self.users { expected[user] = try await engine.adapter(for: user)?.snapshot() }
        await storage.close()
        return expected
    }

    /// What a call gives; `nil` where it throws an error that says that something is damaged.
    private func outcome<R>(_ place: String, _ body: () async throws -> R) async throws -> R? {
        do {
            return try await body()
        } catch let error as EngineError {
            #expect(Self.codes.contains(error.code), "\(place): \(error)")
            let cause = error.cause as? StorageError
            #expect(cause == nil || cause?.code == .damaged, "\(place): \(error)")
            return nil
        } catch let error as StorageError {
            #expect(error.code == .damaged, "\(place): \(error)")
            return nil
        }
    }

    @Test("an update or a forgotten user with one damaged page is all or nothing, whichever page it is")
    func allOrNothing() async throws {
        let path = folder.newPath()
        let expected = try await filled(path)
        let whole = [UInt8](try contents(ofFile: path))
        let seed = UInt64.random(in: 0...UInt64.max)
        var generator = PhiloxGenerator(seed: seed, stream: 1, purpose: .initialization)
        var (opened, updated, refused, forgotten, notForgotten) = (0, 0, 0, 0, 0)
        for page in 0..<whole.count / 4096 {
            var bytes = whole
            bytes[page * 4096 + generator.integer(below: 4096)] ^= 1 << UInt8(generator.integer(below: 8))
            let copy = folder.newPath()
            try Data(bytes).write(to: URL(fileURLWithPath: copy))
            let place = "seed \(seed), page \(page + 1)"
            guard let storage = try await opening(copy) else { continue }
            opened += 1
            let engine = try engine(storage)
            let forgottenUser = Self.users[page % Self.users.count]
            var now: [String: [UInt8]] = [:]
            for user in Self.users {
                let before = try await outcome(place) { try await engine.adapter(for: user)?.snapshot() }
                #expect(before == nil || before == expected[user], "\(place): another answer for \(user)")
                let report = try await outcome(place) {
                    try await engine.updateAdapter(for: user, with: script.batch(user, 12), id: FeedbackID("12"))
                }
                now[user] = try await outcome(place) { try await engine.adapter(for: user)?.snapshot() } ?? nil
                if let report {
                    #expect(report.version == 13 && now[user] != nil, "\(place): \(user)")
                    updated += 1
                } else {
                    #expect(now[user] == nil || now[user] == expected[user], "\(place): \(user) is half updated")
                    refused += 1
                }
            }
            let isForgotten = try await outcome(place) { try await engine.forget(forgottenUser) } != nil
            if isForgotten { forgotten += 1 } else { notForgotten += 1 }
            await storage.close()
            guard let again = try await opening(copy) else { continue }
            let next = try self.engine(again)
            for user in Self.users {
                let found = try await outcome(place) { try await next.adapter(for: user)?.snapshot() }
                if user == forgottenUser, isForgotten {
                    #expect(found == .some(nil) || found == nil, "\(place): \(user) is still there")
                } else if let found, let now = now[user] {
                    #expect(found == now, "\(place): another answer for \(user)")
                }
            }
            if let marked = try await outcome(place, { try await again.isForgotten(forgottenUser) }) {
                #expect(marked == isForgotten, "\(place)")
            }
            await again.close()
        }
        // All of it happened, or nothing was tried.
        #expect(opened > 10 && updated > 20 && refused > 5 && forgotten > 3 && notForgotten > 0, "seed \(seed)")
    }

    private func opening(_ path: String) async throws -> SQLiteStorage? {
        do {
            return try await SQLiteStorage(path: path)
        } catch let error as StorageError {
            #expect([.damaged, .notAStore].contains(error.code), "\(error)")
            return nil
        }
    }
}
