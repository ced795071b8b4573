/// Why a tensor file (`.npy`, `.safetensors`) was refused or could not be written.
public struct TensorFileError: Error, Sendable, Equatable {
    /// The kind of failure. More may be added; switch with a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case inputOutput, malformed, unsupported, limitExceeded, duplicateKey, shapeOverflow, sizeMismatch,
                dataTooShort,
                dataTooLong, offsetOutOfRange, overlap, gap, missingTensor, unsupportedType, wrongShape, notFinite,
                invalidArgument, damaged
        }
        private let kind: Kind

        /// The system refused to open, read, write or rename; the message has its reason.
        public static let inputOutput = Code(kind: .inputOutput)
        /// The bytes are not a file of this format.
        public static let malformed = Code(kind: .malformed)
        /// A sound file of a kind that is not read here: another version, Fortran order, big-endian.
        public static let unsupported = Code(kind: .unsupported)
        /// The header is larger, deeper or longer than the limits allow.
        public static let limitExceeded = Code(kind: .limitExceeded)
        /// A key stands twice in one object of the header.
        public static let duplicateKey = Code(kind: .duplicateKey)
        /// The shape's number of elements or bytes overflows.
        public static let shapeOverflow = Code(kind: .shapeOverflow)
        /// A tensor's bytes are not its shape times its element size.
        public static let sizeMismatch = Code(kind: .sizeMismatch)
        /// The file ends before the data that the header announces.
        public static let dataTooShort = Code(kind: .dataTooShort)
        /// The file goes on after the data that the header announces.
        public static let dataTooLong = Code(kind: .dataTooLong)
        /// A tensor's offsets are reversed or lie outside the data.
        public static let offsetOutOfRange = Code(kind: .offsetOutOfRange)
        /// Two tensors share bytes.
        public static let overlap = Code(kind: .overlap)
        /// Bytes between two tensors belong to neither.
        public static let gap = Code(kind: .gap)
        /// The file has no tensor of that name.
        public static let missingTensor = Code(kind: .missingTensor)
        /// The elements are no floating-point numbers, or of a type unknown here.
        public static let unsupportedType = Code(kind: .unsupportedType)
        /// The tensor is not a vector, or not a matrix, as it was asked for.
        public static let wrongShape = Code(kind: .wrongShape)
        /// An element is NaN or infinite, in the file or after rounding to the type asked for.
        public static let notFinite = Code(kind: .notFinite)
        /// The file's checksum is not that of what it holds.
        public static let damaged = Code(kind: .damaged)
        /// What was to be written cannot be.
        public static let invalidArgument = Code(kind: .invalidArgument)

        /// The code's name.
        public var description: String { kind.rawValue }
    }

    /// The kind of failure.
    public let code: Code
    /// The file, or the name given for bytes in memory.
    public let path: String
    /// The tensor concerned, when it is one.
    public let tensor: String?
    /// Where in the file, in bytes from its start, when it is one place.
    public let byteOffset: Int?
    /// What failed, on what, and what to do.
    public let message: String

    package init(_ code: Code, path: String, tensor: String? = nil, byteOffset: Int? = nil, _ message: String) {
        self.code = code
        self.path = path
        self.tensor = tensor
        self.byteOffset = byteOffset
        self.message = message
    }

    /// Text of an untrusted file for a message: quoted, control characters escaped, at most 60 characters.
    package static func quoted(_ text: String) -> String {
        // By scalars: one "character" may hold megabytes of combining marks.
        let scalars = text.unicodeScalars.prefix(60)
        let shown = String(String.UnicodeScalarView(scalars)).debugDescription
        return scalars.endIndex == text.unicodeScalars.endIndex ? shown : shown + "…"
    }
}

extension TensorFileError: CustomStringConvertible {
    /// File, place, tensor and message; holds no element values.
    public var description: String {
        var text = path
        if let byteOffset { text += ", byte \(byteOffset)" }
        if let tensor { text += ", tensor \(Self.quoted(tensor))" }
        return text + ": " + message
    }
}
