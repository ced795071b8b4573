import Attune
import Foundation
import Testing

@testable import AttuneCommand

/// Whom a command means: ids that look alike, ids that are none, and ids that nobody has.
@Suite struct UserIDTests {
    private static let (composed, decomposed) = ("\u{E9}", "e\u{301}")

    private func users(_ file: String) async throws -> [[UInt8]] {
        let listed = try object(await attune("users", file, "--format", "json").output)
        let users = try #require(listed["users"] as? [[String: Any]])
        return try users.map { Array(try #require($0["user"] as? String).utf8) }
    }

    @Test(arguments: [[composed, decomposed], [decomposed, composed]])
    func aForgottenUserDoesNotComeBackInAnotherForm(_ order: [String]) async throws {
        let folder = try JobTests.Folder()
        let file = folder.path + "/attune.db"
        let rows = try String(contentsOfFile: folder.path + "/interactions.csv", encoding: .utf8)
        func write(_ order: [String]) throws {
            var rows = rows
            for item in 0..<4 { for user in order { rows += "\(user),\(item),5,\(10_000 + item)\n" } }
            try folder.write("interactions.csv", rows)
        }
        func personalize() async throws -> [String: Any] {
            try object(
                await attune("personalize", folder.path, "--rank", "3", "--store", file, "--format", "json").output)
        }
        try write(order)
        #expect(try await personalize()["updates"] as? Int == 24 * 7 + 2 * 3)
        #expect(try await users(file).count == 26)
        let forgotten = try object(await attune("forget", file, "--user", order[0], "--format", "json").output)
        #expect(forgotten["removed_entries"] as? Int == 3)
        try write(order.reversed())
        let again = try await personalize()
        #expect(again["updates"] as? Int == 0 && again["forgotten"] as? Int == 3)
        #expect(again["already_known"] as? Int == 24 * 7 + 3)
        let left = try await users(file)
        #expect(left.contains(Array(order[1].utf8)) && !left.contains(Array(order[0].utf8)))
    }

    @Test func argumentsThatAreNoTextAreRefusedBeforeAnythingElse() async throws {
        let output = RecordingSink()
        let errors = RecordingSink()
        let app = App(
            environment: { _ in nil }, console: Console(output: output, errors: errors, now: { .zero }))
        func run(_ words: [UInt8]...) async -> ExitCode { await app.execute(bytes: words) }
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["a\u{FFFD}"])
        let line = ["forget", folder("a.db"), "--user"].map { Array($0.utf8) }
        #expect(await app.execute(bytes: line + [[0x61, 0xFD]]) == .usage)
        #expect(errors.text.hasPrefix("Error: the argument 'a\u{FFFD}' is not well-formed UTF-8.\nUsage: attune"))
        #expect(try await users(folder("a.db")).count == 1)
        // Cut short, a surrogate, too long a form; and a name that isn't that of a command.
        for word: [UInt8] in [[0xC3], [0xED, 0xA0, 0x80], [0xC0, 0xAF], [0xFF, 0x0A]] {
            #expect(await run(Array("help".utf8), word) == .usage)
        }
        #expect(output.text.isEmpty)
        #expect(await run(Array("help".utf8), Array("forget".utf8)) == .success)
        #expect(await app.execute(bytes: line + [Array("a\u{FFFD}".utf8)]) == .success)
        #expect(try await users(folder("a.db")).isEmpty)
    }

    @Test func forgettingNobodyIsSaid() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada", "bob"])
        let warning = "Warning: nothing was known of the user 'adda' in the project 'default'"
        let typo = await attune("forget", folder("a.db"), "--user", "adda", "--format", "json")
        #expect(typo.code == .success && typo.errors.hasPrefix(warning))
        let facts = try object(typo.output)
        #expect(facts["had_saved_adapter"] as? Bool == false && facts["removed_entries"] as? Int == 0)
        // Their updates are refused all the same, and that they were forgotten is known from now on.
        let storage = try await SQLiteStorage(path: folder("a.db"))
        #expect(try await storage.isForgotten("adda"))
        await storage.close()
        for user in ["adda", "ada", "ada"] {
            let run = await attune("forget", folder("a.db"), "--user", user)
            #expect(run.code == .success && run.errors.isEmpty)
        }
    }

    @Test func whatHasNoSavedAdapterIsKnownAllTheSame() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada"], steps: 3, unsaved: 3)
        let run = await attune("forget", folder("a.db"), "--user", "ada", "--format", "json")
        #expect(run.code == .success && run.errors.isEmpty)
        let facts = try object(run.output)
        #expect(facts["had_saved_adapter"] as? Bool == false && facts["removed_entries"] as? Int == 3)
    }

    @Test func anUnknownUserOfAnUpdateIsCalledUnknown() async throws {
        let folder = try TestFolder()
        try await Shop().make(folder("a.db"), users: ["ada", "bob"])
        func forget(_ user: String) async -> Transcript {
            await attune("forget", folder("a.db"), "--user", user, "--feedback", "event 1")
        }
        let nobody = await forget("adda")
        #expect(nobody.code == .badData && nobody.errors.contains("has no user 'adda' in the project 'default'"))
        #expect(await attune("forget", folder("a.db"), "--user", "bob").code == .success)
        let gone = await forget("bob")
        #expect(gone.code == .badData && gone.errors.contains("the user 'bob' was forgotten"))
        #expect(await forget("ada").code == .success)
    }

    @Test func anEmptyIDIsNoID() async {
        let user = await attune("forget", "a.db", "--user", "")
        #expect(user.code == .usage && user.errors.contains("'--user' needs a user's id, not an empty text."))
        let feedback = await attune("forget", "a.db", "--user", "ada", "--feedback", "")
        #expect(
            feedback.code == .usage
                && feedback.errors.contains("'--feedback' needs the id of an update, not an empty text."))
    }
}
