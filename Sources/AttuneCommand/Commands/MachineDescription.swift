import Attune
import TensorCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// What the arithmetic runs on.
struct MachineDescription {
    /// What is printed, in order.
    let facts: [(name: String, value: String)]

    /// This machine.
    static var current: MachineDescription {
        let replaced = unsafe getenv(FittingBLAS.replacedVariable).map { unsafe String(cString: $0) }
        return MachineDescription(
            processor: processor, kernels: Kernels.instructionSet, blas: .current, replacedCore: replaced)
    }

    /// - Parameter replacedCore: What OpenBLAS chose before ``FittingBLAS`` chose better.
    init(processor: String?, kernels: Kernels.InstructionSet, blas: BLASConfiguration, replacedCore: String? = nil) {
        var facts = [
            ("processor", processor ?? "unknown"), ("kernels", kernels.rawValue), ("blas", blas.library),
            ("blas core", blas.core), ("blas threads", "\(blas.threads)"),
        ]
        if let note = Self.note(blas, kernels, replacedCore: replacedCore) {
            facts.append(("blas note", printable(note)))
        }
        self.facts = facts.map { (name: $0.0, value: $0.1) }
    }

    private static func note(
        _ blas: BLASConfiguration, _ kernels: Kernels.InstructionSet, replacedCore: String?
    ) -> String? {
        let mismatch = blas.mismatch(with: kernels)
        // Only both variables together are of our own making.
        guard let replacedCore, !replacedCore.isEmpty, let chosen = blas.chosenCore, !chosen.isEmpty else {
            return mismatch?.note
        }
        return mismatch == nil
            ? "OpenBLAS itself took \(replacedCore); attune chose a core that fits."
            : "OpenBLAS took \(replacedCore), older than this processor; attune asked for \(chosen) and got \(blas.core). "
                + "Use a newer OpenBLAS, or one built for many processors (DYNAMIC_ARCH)."
    }

    /// The processor in its own words, where Linux tells them: the first `model name` of `/proc/cpuinfo`.
    static var processor: String? {
        #if os(Linux)
            let descriptor = unsafe open("/proc/cpuinfo", O_RDONLY)
            guard descriptor >= 0 else { return nil }
            defer { close(descriptor) }
            // The first processor's paragraph is shorter.
            let text = unsafe String(unsafeUninitializedCapacity: 16_384) { buffer in
                max(0, unsafe read(descriptor, buffer.baseAddress, buffer.count))
            }
            return processor(cpuinfo: text)
        #else
            return nil
        #endif
    }

    static func processor(cpuinfo text: String) -> String? {
        for line in text.split(separator: "\n") where line.hasPrefix("model name") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let name = line[line.index(after: colon)...].drop { $0 == " " }
            return name.isEmpty ? nil : printable(String(name))
        }
        return nil
    }
}
