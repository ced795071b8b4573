import Foundation
import Testing

@testable import AttuneCommand

/// The help texts, compared with the files in Tests/Fixtures/CommandHelp.
///
/// After a wanted change run `ATTUNE_UPDATE_SNAPSHOTS=1 swift test --filter HelpSnapshotTests`: it writes the files and
/// fails, so that it can't pass by accident; run the tests again without the variable and commit the difference.
@Suite struct HelpSnapshotTests {
    static let names = ["attune"] + App.commands.map { $0.specification.name }

    private static let folder = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Fixtures/CommandHelp")

    @Test(arguments: names)
    func matchesTheCheckedInText(_ name: String) async throws {
        let transcript = name == "attune" ? await attune("help") : await attune(arguments: ["help"] + Self.words(name))
        let file = Self.folder.appending(path: Self.fileName(name))
        if ProcessInfo.processInfo.environment["ATTUNE_UPDATE_SNAPSHOTS"] == "1" {
            try Data(transcript.output.utf8).write(to: file)
            Issue.record("wrote \(Self.fileName(name)); run again without ATTUNE_UPDATE_SNAPSHOTS")
            return
        }
        let expected = try String(decoding: Data(contentsOf: file), as: UTF8.self)
        #expect(
            transcript.output == expected,
            "help of \(name) differs from Tests/Fixtures/CommandHelp/\(Self.fileName(name))")
    }

    private static func words(_ name: String) -> [String] { name.split(separator: " ").map(String.init) }
    private static func fileName(_ name: String) -> String { words(name).joined(separator: "-") + ".txt" }

    @Test func aGroupOfCommandsIsListed() async {
        let text = await attune("help", "bank")
        let same = await attune("bank", "--help")
        #expect(text.code == .success && text.output == same.output)
        for action in ["demo", "stats", "episodes", "skills", "similar", "strategy"] {
            #expect(text.output.contains("bank \(action)"))
        }
        #expect(await attune("bank").code == .usage)
    }

    @Test func everySnapshotBelongsToACommand() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(files.sorted() == Self.names.map(Self.fileName).sorted())
    }

    @Test(arguments: App.specifications.map(\.name))
    func fitsInEightyColumnsAndEndsEveryOptionInASentence(_ name: String) async throws {
        let text = await attune(arguments: ["help"] + Self.words(name)).output
        for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
        let specification = try #require(App.specifications.first { $0.name == name })
        for option in specification.options { #expect(option.help.hasSuffix("."), "--\(option.long)") }
    }
}
