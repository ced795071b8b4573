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
        let transcript = name == "attune" ? await attune("help") : await attune("help", name)
        let file = Self.folder.appending(path: "\(name).txt")
        if ProcessInfo.processInfo.environment["ATTUNE_UPDATE_SNAPSHOTS"] == "1" {
            try Data(transcript.output.utf8).write(to: file)
            Issue.record("wrote \(name).txt; run again without ATTUNE_UPDATE_SNAPSHOTS")
            return
        }
        let expected = try String(decoding: Data(contentsOf: file), as: UTF8.self)
        #expect(transcript.output == expected, "help of \(name) differs from Tests/Fixtures/CommandHelp/\(name).txt")
    }

    @Test func everySnapshotBelongsToACommand() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(files.sorted() == Self.names.map { "\($0).txt" }.sorted())
    }

    @Test(arguments: App.specifications.map(\.name))
    func fitsInEightyColumnsAndEndsEveryOptionInASentence(_ name: String) async throws {
        let text = await attune("help", name).output
        for line in text.split(separator: "\n") { #expect(line.count <= 80, "\(line)") }
        let specification = try #require(App.specifications.first { $0.name == name })
        for option in specification.options { #expect(option.help.hasSuffix("."), "--\(option.long)") }
    }
}
