import Attune

/// How the process ends, in the numbers of `sysexits.h`.
enum ExitCode: Int32, Sendable, CaseIterable {
    case success = 0
    case mismatch = 1
    case usage = 64
    case badData = 65
    case noInput = 66
    case internalError = 70
    case cannotCreate = 73
    case ioError = 74

    /// What the number says, for the help texts.
    var meaning: String {
        switch self {
        case .success: "Success."
        case .mismatch: "What was checked is not what it should be."
        case .usage: "Wrong usage: an unknown command or option, or a value out of range."
        case .badData: "Bad data: the message names the file, the line and the column of the first bad row."
        case .noInput: "No input: a file or folder is missing or can't be opened."
        case .internalError: "Internal error: a fault in Attune itself; please report it."
        case .cannotCreate: "An output file or folder can't be created, or is there already."
        case .ioError: "Reading or writing failed part-way, for instance on a full disk."
        }
    }
}

/// A failure that already knows its exit code and what to tell the reader.
struct CommandFailure: Error, Equatable, CustomStringConvertible {
    let exitCode: ExitCode
    /// What failed, on what, and what to do; one or more lines without a trailing newline.
    let message: String

    init(_ exitCode: ExitCode, _ message: String) {
        self.exitCode = exitCode
        self.message = message
    }

    var description: String { message }
}

extension ExitCode {
    /// The one place that turns an error into an exit code.
    init(for error: any Error) {
        switch error {
        case let failure as CommandFailure: self = failure.exitCode
        case is UsageError: self = .usage
        case let error as DataError:
            self =
                switch error.code {
                case .missingFile, .unreadable: .noInput
                case .invalidConfiguration: .usage
                default: .badData
                }
        case let error as StorageError: self = ExitCode(for: error.code)
        case let error as EngineError where error.cause is StorageError:
            self = (error.cause as? StorageError).map { ExitCode(for: $0.code) } ?? .internalError
        case let error as EngineError where Self.dataFaults.contains(error.code): self = .badData
        case let error as TensorFileError: self = error.code == .inputOutput ? .noInput : .badData
        default: self = .internalError
        }
    }

    private init(for code: StorageError.Code) {
        self =
            switch code {
            case .missing: .noInput
            case .notAStore, .newerSchema, .damaged: .badData
            case .readOnly, .exists: .cannotCreate
            default: .ioError
            }
    }

    /// What a storage file holds, rather than what the program does, is at fault.
    private static let dataFaults: [EngineError.Code] = [
        .damagedAdapter, .damagedJournal, .numericsMismatch, .shapeMismatch, .modelMismatch, .unknownUser,
        .unknownFeedback,
        .notRetained, .forgottenUser,
    ]
}
