internal import COpenBLAS

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Which BLAS is at work, for `attune config` and bug reports; and its number of threads.
///
/// OpenBLAS starts a thread per core and would spread every larger product over all of them. Here many tasks call it at once,
/// one user each, and a thread per core times a task per core only get in each other's way; results would also depend on
/// the number of cores. So the first use by this module sets it to one thread, for the whole process.
package struct BLASConfiguration: Sendable {
    /// OpenBLAS's own description: version, build options, threading.
    package let library: String
    /// The processor whose kernels were chosen.
    package let core: String
    /// The core that the environment asks for: the value of `OPENBLAS_CORETYPE`, which OpenBLAS reads once, when it is loaded.
    package let chosenCore: String?
    /// The number of threads a single call may use.
    package let threads: Int

    /// A configuration; ``current`` is this process's own.
    package init(library: String, core: String, chosenCore: String?, threads: Int) {
        self.library = library
        self.core = core
        self.chosenCore = chosenCore
        self.threads = threads
    }

    /// The configuration as it is now.
    package static var current: BLASConfiguration {
        prepare()
        return BLASConfiguration(
            library: unsafe text(openblas_get_config()), core: unsafe text(openblas_get_corename()),
            chosenCore: unsafe getenv("OPENBLAS_CORETYPE").map { unsafe String(cString: $0) },
            threads: Int(openblas_get_num_threads()))
    }

    /// Every wrapper calls this before BLAS or LAPACK.
    static func prepare() { _ = prepared }

    private static let prepared: Void = openblas_set_num_threads(1)

    private static func text(_ pointer: UnsafeMutablePointer<CChar>?) -> String {
        guard let pointer = unsafe pointer else { return "unknown" }
        return unsafe String(cString: pointer)
    }
}
