internal import CSQLite

/// The tables of a storage file, and how they came to be. Migrations are only ever appended.
enum Schema {
    /// "ATTN" as a number: what marks a SQLite file as ours.
    static let applicationID: Int64 = 0x4154_544E

    /// What brings a file from the version of its place here to the next. One that was released is never changed.
    static let migrations: [String] = [
        """
        CREATE TABLE properties (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE projects (ref INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE) STRICT;
        CREATE TABLE users (
            ref INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL, id BLOB NOT NULL,
            UNIQUE (project, id)) STRICT;
        CREATE TABLE adapters (
            user INTEGER PRIMARY KEY, version INTEGER NOT NULL, model BLOB NOT NULL, snapshot BLOB NOT NULL) STRICT;
        CREATE TABLE bases (
            user INTEGER PRIMARY KEY, version INTEGER NOT NULL, model BLOB NOT NULL, snapshot BLOB NOT NULL) STRICT;
        CREATE TABLE journal (
            user INTEGER NOT NULL, version INTEGER NOT NULL, recorded_at INTEGER NOT NULL, id BLOB,
            action BLOB NOT NULL, PRIMARY KEY (user, version)) STRICT, WITHOUT ROWID;
        CREATE TABLE recent (
            seq INTEGER PRIMARY KEY, user INTEGER NOT NULL, version INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
            id BLOB, action BLOB NOT NULL) STRICT;
        CREATE TABLE positions (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        INSERT INTO positions (name, value) VALUES ('settled', 0);
        CREATE TABLE feedback_ids (
            user INTEGER NOT NULL, id BLOB NOT NULL, version INTEGER, PRIMARY KEY (user, id)) STRICT, WITHOUT ROWID;
        CREATE TABLE contents (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL, kind INTEGER NOT NULL, hash INTEGER NOT NULL,
            bytes BLOB NOT NULL, UNIQUE (project, kind, hash)) STRICT;
        CREATE TABLE tombstones (
            project INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (project, digest)) STRICT, WITHOUT ROWID;
        """,
        // Whose adapters priors were merged from, and who started from them.
        """
        CREATE TABLE merged_priors (
            project INTEGER NOT NULL, prior INTEGER NOT NULL, stale INTEGER NOT NULL,
            PRIMARY KEY (project, prior)) STRICT, WITHOUT ROWID;
        CREATE TABLE donors (
            project INTEGER NOT NULL, donor BLOB NOT NULL, prior INTEGER NOT NULL, version INTEGER NOT NULL,
            PRIMARY KEY (project, donor, prior)) STRICT, WITHOUT ROWID;
        CREATE TABLE starters (
            project INTEGER NOT NULL, user BLOB NOT NULL, prior INTEGER NOT NULL,
            PRIMARY KEY (project, user, prior)) STRICT, WITHOUT ROWID;
        """,
        // A bank of episodes and skills. Trials are those of a skill, or of a population under the kind's number below zero. Starts
        // are given out, or were until they were made again.
        """
        CREATE TABLE bank_kinds (
            ref INTEGER PRIMARY KEY, project INTEGER NOT NULL, objective BLOB NOT NULL, dimension INTEGER NOT NULL,
            rank INTEGER NOT NULL, model INTEGER NOT NULL,
            UNIQUE (project, objective, dimension, rank, model)) STRICT;
        CREATE TABLE episodes (
            id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL, kind INTEGER NOT NULL, user BLOB NOT NULL,
            version INTEGER NOT NULL, recorded_at INTEGER NOT NULL, content BLOB NOT NULL,
            UNIQUE (project, user, version, recorded_at)) STRICT;
        CREATE TABLE skills (
            id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL, kind INTEGER NOT NULL,
            content BLOB NOT NULL) STRICT;
        CREATE TABLE populations (
            kind INTEGER PRIMARY KEY, project INTEGER NOT NULL, content BLOB NOT NULL) STRICT;
        CREATE TABLE trials (
            owner INTEGER NOT NULL, user BLOB NOT NULL, content BLOB NOT NULL,
            PRIMARY KEY (owner, user)) STRICT, WITHOUT ROWID;
        CREATE TABLE bank_starts (
            project INTEGER NOT NULL, id INTEGER NOT NULL, prior INTEGER NOT NULL, is_given INTEGER NOT NULL,
            PRIMARY KEY (project, id)) STRICT, WITHOUT ROWID;
        CREATE INDEX donors_by_prior ON donors (project, prior);
        CREATE INDEX starters_by_prior ON starters (project, prior);
        CREATE TABLE consolidations (
            project INTEGER PRIMARY KEY, started_at INTEGER NOT NULL, last_episode INTEGER NOT NULL,
            episodes INTEGER NOT NULL, policy BLOB NOT NULL) STRICT;
        CREATE TABLE consolidation_plans (
            project INTEGER NOT NULL, kind INTEGER NOT NULL, plan BLOB NOT NULL,
            PRIMARY KEY (project, kind)) STRICT, WITHOUT ROWID;
        """,
    ]

    static var version: Int { migrations.count }

    /// Whether a file has tables for priors' donors: one that is opened for reading may have those of version 1, and knows none.
    /// Asked inside the transaction that reads them, since another process may migrate the file meanwhile.
    static func knowsPriors(_ connection: Connection) throws(StorageError) -> Bool {
        try connection.integer("PRAGMA user_version") ?? 0 >= 2
    }

    /// Whether a file has tables for a bank: an older one that is opened for reading has none, and no episodes.
    static func knowsBank(_ connection: Connection) throws(StorageError) -> Bool {
        try connection.integer("PRAGMA user_version") ?? 0 >= 3
    }

    /// Brings a file's tables up to date; makes them in a new one, with what a reader that comes at any time must find.
    ///
    /// - Throws: ``StorageError``: `notAStore`, `newerSchema`, and what SQLite says.
    static func prepare(_ connection: Connection, project: String) throws {
        let version = try check(connection, mayBeNew: true)
        guard version < Self.version else { return }
        // Another process may have come first.
        try connection.transaction {
            let version = try check(connection, mayBeNew: true)
            for migration in migrations[version...] { try connection.execute(migration) }
            let key = (0..<16).map { _ in UInt8.random(in: 0...255) }
            try connection.run(
                "INSERT OR IGNORE INTO properties (name, value) VALUES ('digest key', ?)", [.bytes(key)])
            try connection.run("INSERT OR IGNORE INTO projects (name) VALUES (?)", [.text(project)])
            try connection.execute("PRAGMA application_id = \(applicationID); PRAGMA user_version = \(Self.version)")
        }
    }

    /// The version of a file's tables; 0 for a file without any. Older ones are read as they are: who only reads cannot migrate.
    @discardableResult
    static func check(_ connection: Connection, mayBeNew: Bool) throws(StorageError) -> Int {
        func refuse(_ code: StorageError.Code, _ message: String) -> StorageError {
            StorageError(code, "open", message, path: connection.path)
        }
        let tables = try connection.integer("SELECT count(*) FROM sqlite_schema") ?? 0
        let application = try connection.integer("PRAGMA application_id") ?? 0
        let version = try connection.integer("PRAGMA user_version") ?? 0
        if tables == 0, application == 0, version == 0, mayBeNew { return 0 }
        if tables == 0, application == 0, version == 0 {
            throw refuse(.notAStore, "it is empty: nobody has made a storage in it yet")
        }
        guard application == applicationID, version > 0 else {
            throw refuse(.notAStore, "this is a SQLite database of something else than Attune; give another path")
        }
        guard version <= Self.version else {
            throw refuse(
                .newerSchema,
                "its tables have version \(version), and this version of Attune knows \(Self.version): "
                    + "use the newer one")
        }
        var expected = expected(migrations[..<Int(version)])
        let records = try RecordSchema.version(connection)
        guard (0...RecordSchema.migrations.count).contains(records) else {
            throw refuse(
                .newerSchema,
                "its tables of records have version \(records), and this version of Attune knows "
                    + "\(RecordSchema.migrations.count): use the newer one")
        }
        expected.formUnion(self.expected(RecordSchema.migrations[..<records]))
        guard try definitions(connection) == expected else {
            throw refuse(.notAStore, "its tables are not exactly Attune's; those of others are not used")
        }
        return Int(version)
    }

    /// What migrations define, as SQLite keeps it: the statements' own texts. Triggers, views, generated columns and virtual tables
    /// of others would run with our rights: a file with anything else is not opened.
    private static func expected(_ migrations: ArraySlice<String>) -> Set<String> {
        var all = Set<String>()
        for statement in migrations.joined().split(separator: ";") {
            let text = statement.drop { $0.isWhitespace }
            if text.hasPrefix("CREATE") { all.insert(String(text)) }
            guard text.hasPrefix("DROP"), let name = text.split(separator: " ").last else { continue }
            // A table's indexes go with it.
            all = all.filter { definition in
                let words = definition.split(maxSplits: 6) { $0 == " " || $0 == "\n" }
                return !words.dropFirst(2).prefix(2).contains(name)
                    && !(words.contains("INDEX") && words.dropFirst(4).prefix(2).contains(name))
            }
        }
        // SQLite's own, for AUTOINCREMENT.
        all.insert("CREATE TABLE sqlite_sequence(name,seq)")
        return all
    }

    /// What a file defines; unequal to anything expected where it defines more than we would read.
    private static func definitions(_ connection: Connection) throws(StorageError) -> Set<String> {
        var all = Set<String>()
        try connection.run("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL LIMIT 200") { all.insert($0.text(0)) }
        return all
    }
}
