import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// OpenBLAS chooses its kernels while it is loaded, before any of our code runs. One that doesn't know the processor takes those
/// of an older one; the environment can tell it better, so the program then starts once more with that.
///
/// Only a choice of OpenBLAS's own is replaced: what the environment says, somebody wanted.
enum FittingBLAS {
    /// What OpenBLAS reads.
    static let variable = "OPENBLAS_CORETYPE"
    /// Holds the core that was replaced, for `attune config`; and its presence keeps the program from starting a third time.
    static let replacedVariable = "ATTUNE_BLAS_CORE_REPLACED"

    /// What to add to the environment for a new start; `nil` where everything fits or nothing helps.
    static func environment(
        _ blas: BLASConfiguration, _ kernels: Kernels.InstructionSet, replaced: String?
    ) -> [(name: String, value: String)]? {
        guard replaced ?? "" == "", let mismatch = blas.mismatch(with: kernels), mismatch.cause == .library else {
            return nil
        }
        return [(variable, mismatch.fitting), (replacedVariable, mismatch.core)]
    }

    /// Starts this program again where that gives OpenBLAS fitting kernels; returns where it doesn't, or where the system does
    /// not allow it: slower kernels are right too.
    static func startAgainIfNeeded(_ replaced: String?) {
        #if os(Linux)
            guard let additions = environment(.current, Kernels.instructionSet, replaced: replaced),
                let path = ownPath
            else { return }
            for (name, value) in additions { unsafe setenv(name, value, 1) }
            _ = unsafe execv(path, CommandLine.unsafeArgv)
            for (name, _) in additions { unsafe unsetenv(name) }
        #endif
    }

    #if os(Linux)
        /// This program's file; `nil` where another one runs it, such as the dynamic linker called by name.
        private static var ownPath: String? {
            var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
            let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
            guard count > 0, count < buffer.count else { return nil }
            let path = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            let called = CommandLine.arguments.first?.split(separator: "/").last
            return path.split(separator: "/").last == called ? path : nil
        }
    #endif
}
