import Foundation
import Testing

/// A disk of some megabytes, in memory, where this process may mount one.
final class SmallDisk {
    let path: String

    static let isPossible: Bool = {
        let path = FileManager.default.temporaryDirectory.path + "/attune-disk-\(UUID().uuidString)"
        do {
            _ = try SmallDisk(megabytes: 1, at: path)
            return true
        } catch {
            print("no small disks here (\(error)): tests of full and read-only disks are skipped")
            return false
        }
    }()

    init(megabytes: Int, at path: String) throws {
        self.path = path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try Self.run("mount -t tmpfs -o size=\(megabytes)m tmpfs", path)
    }

    func makeReadOnly() throws { try Self.run("mount -o remount,ro", path) }

    /// Writes to a file until there is no space.
    func fill(_ file: String) throws {
        try #require(FileManager.default.createFile(atPath: file, contents: nil))
        let handle = try #require(FileHandle(forWritingAtPath: file))
        var written = 0
        do {
            while true {
                try handle.write(contentsOf: Data(count: 4096))
                written += 4096
            }
        } catch {
            #expect(written > 0, "\(error)")
        }
        try handle.close()
    }

    deinit {
        do { try Self.run("umount -l", path) } catch { print("cannot unmount \(path): \(error)") }
    }

    struct Failure: Error { let status: Int32 }

    private static func run(_ command: String, _ path: String) throws {
        let status = runProgram("\(command) '\(path)' 2>/dev/null")
        guard status == 0 else { throw Failure(status: status) }
    }
}

/// Runs a line of the shell; its status, 0 for success.
///
/// Through the C library: Foundation's `Process` lists the open files of this one, and reads beyond the end of that list when
/// there are many, which the address sanitizer stops.
func runProgram(_ line: String) -> Int32 {
    guard let stream = unsafe popen(line, "r") else { return -1 }
    return unsafe pclose(stream)
}
