import Foundation
import LoRA
import Personalization
import SQLiteStorage
import TensorCore

/// What looks after each kill.
enum Checking {
    /// What the writers have said of one user.
    private struct User {
        /// The last version that was acknowledged, in this process or an earlier one.
        var acknowledged: UInt64 = 0
        /// The same in one process, whose acknowledgements rise by one.
        var last: UInt64?
        var piecesBegun: Set<UInt64> = []
        var piecesForgotten: Set<UInt64> = []
        var isForgettingBegun = false
        var isForgotten = false
        var isErased = false

        /// Counts an acknowledgement; what is wrong with it.
        mutating func acknowledge(_ version: UInt64) -> String? {
            defer {
                last = version
                acknowledged = version
            }
            if let last, version != last + 1 { return "version \(version) after \(last)" }
            return version > acknowledged ? nil : "version \(version) was acknowledged after \(acknowledged)"
        }
    }

    static func run(_ path: String, acknowledgements: String) async throws {
        let lines = try lines(acknowledgements)
        var (users, count) = said(lines)
        let storage = try await SQLiteStorage(path: path)
        for user in try await storage.journalledUsers() where users[user] == nil && user != Telling.user {
            users[user] = User()
        }
        let configuration = Script.configuration(round: 0)
        let engine = try PersonalizationEngine(configuration: configuration, store: storage, journal: storage)
        let reference = try Reference()
        var (gone, pieces) = (0, 0)
        for (name, user) in users.sorted(by: { $0.key < $1.key }) {
            let isForgotten = try await storage.isForgotten(name)
            if user.isForgotten, !isForgotten { fail("\(name): was forgotten and is known again") }
            if isForgotten {
                guard user.isForgettingBegun else { fail("\(name): forgotten, and nobody has asked for it") }
                try await checkGone(name, storage, engine, reference)
                gone += 1
            } else {
                try await check(name, user, storage, engine, reference)
                pieces += user.piecesForgotten.count
            }
        }
        let verification = try await JournalVerification.run(storage, storage)
        if let mismatch = verification.mismatches.first { fail("\(mismatch.user): \(mismatch.reason)") }
        try checkErased(users.filter { $0.value.isErased }.map(\.key), path)
        let episodes = try await Banking(storage).check(acknowledgements)
        let capturing = try await Capturing(storage)
        let records = try await capturing.check(lines)
        let telling = try await Telling(capturing.store).check(lines, engine)
        await storage.close()
        print(
            "\(count) acknowledged in this file, \(verification.entries) entries, \(verification.unsavedEntries) in the "
                + "journal alone; forgotten: \(gone) users, \(pieces) pieces of feedback of others; "
                + "bank: \(episodes); \(records); \(telling)")
    }

    private static func lines(_ path: String) throws -> [Line] {
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
        return text.split(separator: "\n").map { text in
            guard let line = Line(text) else { fail("an acknowledgement that nobody understands: \(text)") }
            return line
        }
    }

    private static func said(_ lines: [Line]) -> (users: [String: User], count: Int) {
        var users: [String: User] = [:]
        var count = 0
        for line in lines {
            switch line {
            case .round: for user in users.keys { users[user]?.last = nil }
            case .updated(let user, let version):
                if let fault = users[user, default: User()].acknowledge(version) { fail("\(user): \(fault)") }
                count += 1
            case .forgettingPiece(let user, let piece): users[user, default: User()].piecesBegun.insert(piece)
            case .forgotPiece(let user, let piece, let version):
                if let fault = users[user, default: User()].acknowledge(version) { fail("\(user): \(fault)") }
                users[user]?.piecesForgotten.insert(piece)
                count += 1
            case .forgettingUser(let user): users[user, default: User()].isForgettingBegun = true
            case .forgotUser(let user, let isErased):
                users[user]?.isForgotten = true
                users[user]?.isErased = isErased
                count += 1
            case .episode, .forgotDonor, .consolidated, .recorded, .ended, .told, .delivered: count += 1
            case .forgettingDonor, .recording: break
            }
        }
        return (users, count)
    }

    /// A user who is there: all that was acknowledged, in order, and nothing that was forgotten.
    private static func check(
        _ name: String, _ user: User, _ storage: SQLiteStorage, _ engine: PersonalizationEngine,
        _ reference: Reference
    ) async throws {
        let adapter = try await engine.adapter(for: name)
        let version = adapter?.version ?? 0
        if version < user.acknowledged {
            fail("\(name): version \(user.acknowledged) was acknowledged, \(version) is there")
        }
        let entries = try await storage.entries(of: name, after: nil)
        if let fault = try reference.fault(name, entries, adapter) { fail("\(name): \(fault)") }
        if let last = entries.last, last.version != version {
            fail("\(name): the adapter has not seen \(last.version)")
        }
        let versions = Set(entries.map(\.version))
        for made in 1..<(version + 1) where !versions.contains(made) && !user.piecesBegun.contains(made) {
            fail("\(name): version \(made) of \(version) is not in the journal")
        }
        let ids = Set(entries.compactMap(\.id))
        for piece in user.piecesForgotten {
            let id = Script.id(name, before: piece - 1)
            if ids.contains(id) { fail("\(name): the feedback of version \(piece) was forgotten and is there") }
            let again = try await engine.updateAdapter(
                for: name, with: Script.feedback(name, piece - 1, reference.catalogue), id: id)
            if again.samples != 0 || again.version != version {
                fail("\(name): the feedback of version \(piece) was forgotten and is learned again")
            }
        }
    }

    /// A user who was forgotten: nothing is left, and nothing comes back.
    private static func checkGone(
        _ name: String, _ storage: SQLiteStorage, _ engine: PersonalizationEngine, _ reference: Reference
    ) async throws {
        if try await storage.record(of: name) != nil { fail("\(name): forgotten, and something is left") }
        if try await !storage.entries(of: name, after: nil).isEmpty { fail("\(name): forgotten, and entries are left") }
        do {
            _ = try await engine.updateAdapter(for: name, with: Script.feedback(name, 0, reference.catalogue))
            fail("\(name): forgotten, and learned from")
        } catch let error as EngineError where error.code == .forgottenUser {}
    }

    /// The names of users whose bytes were said to be gone.
    private static func checkErased(_ users: [String], _ path: String) throws {
        for file in [path, path + "-wal"] where FileManager.default.fileExists(atPath: file) {
            let bytes = try Data(contentsOf: URL(fileURLWithPath: file))
            for user in users where bytes.range(of: Data(user.utf8)) != nil {
                fail("\(user): erased, and the name stands in the file")
            }
        }
    }
}
