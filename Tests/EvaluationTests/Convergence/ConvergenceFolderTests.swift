import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Evaluation

/// Runs that were stopped go on where they were.
@Suite struct ConvergenceFolderTests {
    private static let variants: [ConvergenceGrid.Variant] = [
        .init(.none), .init(.cold), .init(.warm),
        .init(
            name: "e", method: .engine,
            settings: [.init(.rate, [.number(0.1), .number(0.3)]), .init(.bank, [.flag(false), .flag(true)])]),
    ]

    private func files(_ path: String) throws -> [String: Data] {
        var found: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: path) where name != "pieces" {
            found[name] = try Data(contentsOf: URL(filePath: "\(path)/\(name)"))
        }
        return found
    }

    private func pieces(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path + "/pieces").filter { $0.hasSuffix(".piece") }.sorted()
    }

    @Test func aSecondRunFindsEveryPieceAndWritesTheSameBytes() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/out"
        for _ in 0..<2 {
            let output = try ConvergenceFolder(path: path)
            try output.write(try await SmallBenchmark.run(Self.variants, in: output))
        }
        let first = try files(path)
        #expect(first.count == 7)
        #expect(try BenchmarkRecord(path: path + "/result.json").runs.map(\.name) == ["none", "cold", "warm", "e"])
        let output = try ConvergenceFolder(path: path)
        let notices = Lock([String]())
        let again = try await SmallBenchmark.run(Self.variants, in: output) { text in
            notices.withLock { $0.append(text) }
        }
        try output.write(again)
        // The times too, which are those of the pieces.
        #expect(try files(path) == first && notices.withLock { $0 }.isEmpty)
        let without = try await SmallBenchmark.run(Self.variants)
        #expect(SmallBenchmark.text(without) == SmallBenchmark.text(again))
    }

    @Test func aRunThatWasStoppedGoesOnAndEndsTheSame() async throws {
        let expected = SmallBenchmark.text(try await SmallBenchmark.run(Self.variants))
        let folder = try TemporaryFolder()
        let path = folder.path + "/out"
        var reached = 0
        for share in [0.1, 0.2, 0.35, 0.5] {
            let task = Task {
                let output = try ConvergenceFolder(path: path)
                return try await SmallBenchmark.run(
                    Self.variants, in: output,
                    progress: { progress in
                        if progress.fraction >= share { unsafe withUnsafeCurrentTask { unsafe $0?.cancel() } }
                    })
            }
            // Cancelled at that share, or a little later; never finished.
            await #expect(throws: CancellationError.self) { try await task.value }
            let count = try pieces(path).count
            #expect(count >= reached)
            reached = count
        }
        #expect(reached > 5)
        let output = try ConvergenceFolder(path: path)
        let result = try await SmallBenchmark.run(Self.variants, in: output)
        #expect(SmallBenchmark.text(result) == expected)
    }

    @Test func damagedAndForeignPiecesAreToldAndMadeAnew() async throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/out"
        let output = try ConvergenceFolder(path: path)
        let expected = SmallBenchmark.text(try await SmallBenchmark.run(Self.variants, in: output))
        var random = PhiloxGenerator(seed: 12, purpose: .simulation)
        let names = try pieces(path)
        var broken = 0
        for (place, name) in names.enumerated() {
            let file = URL(filePath: "\(path)/pieces/\(name)")
            var bytes = try Data(contentsOf: file)
            switch place % 5 {
            case 0: bytes[random.integer(below: bytes.count)] ^= UInt8(1 << random.integer(below: 8))
            case 1: bytes.removeLast(random.integer(in: 1..<bytes.count))
            case 2: bytes = try Data(contentsOf: URL(filePath: "\(path)/pieces/\(names[(place + 1) % names.count])"))
            case 3: bytes.append(0)
            default: continue
            }
            broken += 1
            try bytes.write(to: file)
        }
        let notices = Lock([String]())
        let again = try await SmallBenchmark.run(Self.variants, in: output) { text in
            notices.withLock { $0.append(text) }
        }
        #expect(SmallBenchmark.text(again) == expected)
        // Pieces that the end no longer needs are not looked at.
        #expect(notices.withLock { $0.count } == broken, "\(notices.withLock { $0 })")
        #expect(notices.withLock { $0.allSatisfy { $0.contains("computed again") || $0.contains("damaged") } })
    }

    @Test func otherSettingsOfTheRunFindNoPieces() async throws {
        let folder = try TemporaryFolder()
        let output = try ConvergenceFolder(path: folder.path + "/out")
        _ = try await SmallBenchmark.run([.init(.none)], in: output)
        let one = try pieces(output.path)
        _ = try await SmallBenchmark.run([.init(.none)], data: SmallBenchmark.data { $0.reversed() }, in: output)
        let two = try pieces(output.path)
        #expect(one.count == 2 && two.count == 4)
        _ = try await SmallBenchmark.run([.init(.none)], seeds: 2, in: output)
        #expect(try pieces(output.path).count == 5, "the donors' piece serves, since they have one seed")
    }

    @Test func aFolderHasOneRunAtATime() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/out"
        do {
            let first = try ConvergenceFolder(path: path)
            let error = #expect(throws: DataError.self) { _ = try ConvergenceFolder(path: path) }
            #expect(error?.code == .inUse && first.path == path)
        }
        try Data([1]).write(to: URL(filePath: path + "/pieces/aa.piece.x1.tmp"))
        try Data([1]).write(to: URL(filePath: path + "/result.json.x1.tmp"))
        try Data([1]).write(to: URL(filePath: path + "/notes.tmp"))
        _ = try ConvergenceFolder(path: path)
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == ["notes.tmp", "pieces"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: path + "/pieces") == ["lock"])
        let other = try #require(throws: DataError.self) {
            _ = try ConvergenceFolder(path: URL(filePath: path).deletingLastPathComponent().path)
        }
        #expect(other.code == .cannotWrite && other.message.contains("other things"))
        // A folder that is called as the pieces' does not make it ours.
        let foreign = folder.path + "/jigsaw/pieces"
        try FileManager.default.createDirectory(atPath: foreign, withIntermediateDirectories: true)
        try Data([1]).write(to: URL(filePath: foreign + "/corner.png"))
        let refused = try #require(throws: DataError.self) {
            _ = try ConvergenceFolder(path: folder.path + "/jigsaw")
        }
        #expect(refused.code == .cannotWrite && refused.message.contains("other things"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: foreign) == ["corner.png"])
        // The folders that it is in are made too; in a file there can be none.
        _ = try ConvergenceFolder(path: folder.path + "/a/b")
        #expect(FileManager.default.fileExists(atPath: folder.path + "/a/b/pieces"))
        let inFile = #expect(throws: DataError.self) { _ = try ConvergenceFolder(path: path + "/notes.tmp/b") }
        #expect(inFile?.code == .cannotWrite)
    }
}
