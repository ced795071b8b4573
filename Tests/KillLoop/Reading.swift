import Personalization
import SQLiteStorage

/// A process that reads while another writes and is killed, until it is killed itself.
enum Reading {
    static func run(_ path: String) async throws {
        let reference = try Reference()
        var highest: [String: UInt64] = [:]
        while true {
            let storage = try await open(path)
            // One storage sees many settlings.
            for _ in 0..<20 {
                // The bridge's user is not of the script.
                let users = Set(try await storage.journalledUsers()).subtracting([Telling.user])
                for user in highest.keys where !users.contains(user) {
                    // Seen before and gone now: forgotten, for ever.
                    guard try await storage.isForgotten(user) else { fail("\(user): gone, and not forgotten") }
                }
                for user in users {
                    // Forgotten since the list was made.
                    guard let record = try await storage.record(of: user) else { continue }
                    if let damage = record.damage { fail("\(user): \(damage)") }
                    if let fault = try reference.fault(user, record.entries, record.saved?.adapter) {
                        fail("\(user): a reader found \(fault)")
                    }
                    let version = record.entries.last?.version ?? 0
                    if version < highest[user] ?? 0 {
                        fail("\(user): a reader found version \(version) after \(highest[user] ?? 0)")
                    }
                    highest[user] = version
                }
                say("read\n")
                try await Task.sleep(for: .milliseconds(5))
            }
            await storage.close()
        }
    }

    /// Waits for the file to be there.
    private static func open(_ path: String) async throws -> SQLiteStorage {
        while true {
            do {
                return try await SQLiteStorage(path: path, access: .reading)
            } catch let error as StorageError
                where [.missing, .locked].contains(error.code) || isBeingMade(error)
            {
                try await Task.sleep(for: .milliseconds(2))
            }
        }
    }

    /// A file without tables is empty.
    private static func isBeingMade(_ error: StorageError) -> Bool {
        error.code == .notAStore && error.message.contains("it is empty")
    }
}
