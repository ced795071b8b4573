extension BLASConfiguration {
    /// A BLAS that runs on kernels for an older processor than the one that our own kernels found.
    package struct Mismatch: Sendable, Equatable {
        /// Who chose those kernels.
        package enum Cause: Sendable, Equatable {
            /// The environment: `OPENBLAS_CORETYPE` had this value.
            case environment(String)
            /// The library itself, which doesn't know this processor and takes the nearest that it does know.
            case library
            /// Whoever built the library, for one kind of processor only.
            case build
        }

        /// The core in use, in OpenBLAS's words.
        package let core: String
        /// A core that fits the processor, in OpenBLAS's words.
        package let fitting: String
        /// Why the core is in use.
        package let cause: Cause

        /// What is wrong, what decides it and what to do: one line.
        package var note: String {
            let what = "OpenBLAS runs on its kernels for \(core), older than this processor"
            return switch cause {
            case .environment(let value):
                "\(what): OPENBLAS_CORETYPE=\(value) says so. Unset it, or set OPENBLAS_CORETYPE=\(fitting) before start."
            case .library:
                "\(what), which this OpenBLAS doesn't know. Set OPENBLAS_CORETYPE=\(fitting) before start, or use a newer OpenBLAS."
            case .build:
                "\(what): this OpenBLAS was built for that one only. Use one built for many (DYNAMIC_ARCH)."
            }
        }
    }

    /// Whether the BLAS falls behind the kernels. Only where both are known: a core that isn't listed here may be newer than
    /// this code.
    ///
    /// - Parameter instructions: What our own kernels run with.
    package func mismatch(with instructions: Kernels.InstructionSet) -> Mismatch? {
        guard let reach = Self.reach(of: core), reach < Self.rank(instructions) else { return nil }
        let cause: Mismatch.Cause =
            if !library.split(separator: " ").contains("DYNAMIC_ARCH") {
                .build
            } else if let chosenCore, !chosenCore.isEmpty {
                .environment(chosenCore)
            } else {
                .library
            }
        return Mismatch(core: core, fitting: instructions == .avx512 ? "SkylakeX" : "Haswell", cause: cause)
    }

    private static func rank(_ instructions: Kernels.InstructionSet) -> Int {
        switch instructions {
        case .portable: 0
        case .avx2: 1
        case .avx512: 2
        }
    }

    /// What a core's kernels use of the instructions that ours choose among: below AVX2, AVX2, AVX-512. `nil` for others.
    private static func reach(of core: String) -> Int? {
        switch core.lowercased() {
        case "skylakex", "cooperlake", "sapphirerapids": 2
        case "haswell", "zen", "excavator": 1
        case "prescott", "core2", "penryn", "dunnington", "nehalem", "atom", "nano", "athlon", "opteron",
            "opteron_sse3",
            "barcelona", "bobcat", "sandybridge", "bulldozer", "piledriver", "steamroller":
            0
        default: nil
        }
    }
}
