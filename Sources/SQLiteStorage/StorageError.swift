internal import Personalization

/// Why a storage file could not be opened, read or written. What was stored before is as it was.
public struct StorageError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case missing, inUse, notAStore, newerSchema, olderSchema, damaged, full, readOnly, locked, inputOutput,
                closed, tooLarge,
                exists
        }
        private let kind: Kind

        /// There is no such file, or it may not be opened.
        public static let missing = Code(kind: .missing)
        /// Another process, or another storage of this one, has the file open for writing.
        public static let inUse = Code(kind: .inUse)
        /// There is something already where a new file was to be.
        public static let exists = Code(kind: .exists)
        /// The file is something else than a storage of Attune's.
        public static let notAStore = Code(kind: .notAStore)
        /// A newer version of Attune made the file.
        public static let newerSchema = Code(kind: .newerSchema)
        /// An older version of Attune made the tables, which whoever only reads cannot bring up to date.
        public static let olderSchema = Code(kind: .olderSchema)
        /// What is in the file is not what was written there.
        public static let damaged = Code(kind: .damaged)
        /// No space is left on the device.
        public static let full = Code(kind: .full)
        /// The file or its folder may not be written to.
        public static let readOnly = Code(kind: .readOnly)
        /// Another program holds a lock on the file.
        public static let locked = Code(kind: .locked)
        /// The operating system could not read or write.
        public static let inputOutput = Code(kind: .inputOutput)
        /// A value is larger than a database takes.
        public static let tooLarge = Code(kind: .tooLarge)
        /// The storage was closed, or gave up after a failed write: open it again.
        public static let closed = Code(kind: .closed)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The operation that failed.
    public let operation: String
    /// What failed and what to do. It names no user.
    public let message: String
    /// The file.
    public let path: String

    init(_ code: Code, _ operation: String, _ message: String, path: String) {
        self.code = code
        self.operation = operation
        self.message = message
        self.path = path
    }

    /// Operation, file and message.
    public var description: String { "\(operation), \(path): \(message)" }
}

extension StorageError: TellingDamage {
    package var tellsDamage: Bool { code == .damaged }
}
