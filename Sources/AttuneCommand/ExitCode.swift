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
        case .cannotCreate: "An output can't be created or is there already, or a file may not be written to."
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
    ///
    /// Of an error and its causes the innermost that says what is at fault decides: an engine passes on what its storage throws.
    init(for error: any Error) {
        self = withCauses(error).reversed().lazy.compactMap { Self.code(of: $0) }.first ?? .internalError
    }

    /// What an error says by itself; `nil` where it says nothing of whose fault it is.
    private static func code(of error: any Error) -> ExitCode? {
        switch error {
        case let failure as CommandFailure: failure.exitCode
        case is UsageError: .usage
        case let error as DataError:
            switch error.code {
            case .missingFile, .unreadable: .noInput
            case .invalidConfiguration: .usage
            case .inUse, .cannotWrite: .cannotCreate
            default: .badData
            }
        case let error as StorageError: ExitCode(for: error.code)
        case let error as EngineError where dataFaults.contains(error.code): .badData
        case let error as RecordError: error.code == .files ? .cannotCreate : .badData
        case is TrainingFormatError: .badData
        case let error as TensorFileError: error.code == .inputOutput ? .noInput : .badData
        default: nil
        }
    }

    private init(for code: StorageError.Code) {
        self =
            switch code {
            case .missing: .noInput
            case .notAStore, .newerSchema, .olderSchema, .damaged: .badData
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
