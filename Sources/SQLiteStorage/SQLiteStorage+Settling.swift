extension SQLiteStorage {
    /// Settles what is recent now, however little it is: for the tests of this package, which need not wait for many entries.
    /// It is for the package rather than this module alone, because what `scripts/kill-loop` kills is a program.
    package func settle() async throws {
        try await writing("settle") { connection in try connection.recent.settle(connection) }
    }
}
