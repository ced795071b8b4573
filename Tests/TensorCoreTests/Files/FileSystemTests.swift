import Foundation
import Testing

@testable import TensorCore

struct FileSystemTests {
    @Test func aFileTruncatedAfterOpeningIsAnErrorAndNoCrash() throws {
        let folder = try TemporaryFolder()
        let matrix = Matrix<Float>(rows: 100, columns: 400)
        var writer = SafeTensorsWriter()
        try writer.add("a", matrix)
        try writer.write(to: folder.file("a.safetensors"))
        try NumPyFile.write(matrix, to: folder.file("a.npy"))
        let tensors = try SafeTensorsFile(path: folder.file("a.safetensors"))
        let array = try NumPyFile(path: folder.file("a.npy"))
        for name in ["a.safetensors", "a.npy"] {
            let handle = try #require(FileHandle(forWritingAtPath: folder.file(name)))
            try handle.truncate(atOffset: 100_000)
            try handle.close()
        }
        for error in [
            errorOf { _ = try tensors.matrix("a", of: Float.self) }, errorOf { _ = try array.matrix(of: Float.self) },
        ] {
            #expect(error?.code == .dataTooShort)
            #expect(error?.byteOffset == 100_000)
        }
    }

    @Test func aFileReplacedAfterOpeningIsReadAsItWas() throws {
        let folder = try TemporaryFolder()
        try NumPyFile.write([1, 2, 3] as Vector<Float>, to: folder.file("a.npy"))
        let file = try NumPyFile(path: folder.file("a.npy"))
        try NumPyFile.write([4] as Vector<Float>, to: folder.file("a.npy"))
        #expect(try file.vector().array == [1, 2, 3] as [Float])
        #expect(try NumPyFile(path: folder.file("a.npy")).vector().array == [4] as [Float])
    }

    @Test func saysWhyAFileCannotBeOpened() throws {
        let folder = try TemporaryFolder()
        let missing = errorOf { _ = try NumPyFile(path: folder.file("none.npy")) }
        #expect(missing?.code == .inputOutput)
        #expect(missing?.message == "cannot open the file: No such file or directory (errno 2)")
        #expect(errorOf { _ = try SafeTensorsFile(path: folder.path) }?.message == "not a regular file")
        _ = unsafe mkfifo(folder.file("pipe"), 0o600)
        #expect(errorOf { _ = try SafeTensorsFile(path: folder.file("pipe")) }?.message == "not a regular file")
    }

    @Test func aFailedWriteLeavesWhatWasThere() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.npy")
        try NumPyFile.write([1, 2, 3] as Vector<Float>, to: path)
        let error = errorOf {
            try AtomicFile.write(to: path) { file throws(TensorFileError) in
                try file.append([1, 2, 3])
                throw TensorFileError(.invalidArgument, path: path, "broken off")
            }
        }
        #expect(error?.message == "broken off")
        #expect(try NumPyFile(path: path).vector().array == [1, 2, 3] as [Float])
        #expect(try folder.entries() == ["a.npy"])
        // A folder is in the way, so that the rename fails.
        try FileManager.default.createDirectory(atPath: folder.file("b.npy"), withIntermediateDirectories: false)
        #expect(errorOf { try NumPyFile.write([1] as Vector<Float>, to: folder.file("b.npy")) }?.code == .inputOutput)
        #expect(
            errorOf { try NumPyFile.write([1] as Vector<Float>, to: folder.file("no/b.npy")) }?.code == .inputOutput)
        #expect(try folder.entries() == ["a.npy", "b.npy"])
    }

    @Test func writesToARelativePath() throws {
        #expect(errorOf { try NumPyFile.write([1] as Vector<Float>, to: "") }?.code == .inputOutput)
    }

    @Test func aPairIsReplacedOrLeftWithoutItsSecond() throws {
        let folder = try TemporaryFolder()
        let (one, two) = (folder.file("one"), folder.file("two"))
        func pair() throws -> [[UInt8]?] {
            try [one, two].map { path in
                guard FileManager.default.fileExists(atPath: path) else { return nil }
                let source = try ByteSource(path: path)
                return try source.bytes(0..<source.count)
            }
        }
        try AtomicFile.write(first: (one, [1]), second: (two, [2]))
        #expect(try pair() == [[1], [2]])
        try AtomicFile.write(first: (one, [3]), second: (two, [4]))
        #expect(try pair() == [[3], [4]] && folder.entries() == ["one", "two"])
        // The first cannot be put in place: the second of another pair must not stay beside the old first.
        try FileManager.default.removeItem(atPath: one)
        try FileManager.default.createDirectory(atPath: one + "/x", withIntermediateDirectories: true)
        #expect(errorOf { try AtomicFile.write(first: (one, [5]), second: (two, [6])) }?.code == .inputOutput)
        #expect(try folder.entries() == ["one"])
        // Nor can anything be written where there is no folder.
        let nowhere = folder.file("a/b")
        #expect(errorOf { try AtomicFile.write(first: (nowhere, [1]), second: (nowhere, [2])) }?.code == .inputOutput)
        try AtomicFile.makeFolder(folder.path)
        #expect(errorOf { try AtomicFile.makeFolder(nowhere) }?.code == .inputOutput)
    }
}
