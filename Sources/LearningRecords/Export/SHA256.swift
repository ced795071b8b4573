internal import CCrypto

/// A SHA-256 (FIPS 180-4) of bytes that come one after the other, by OpenSSL.
@safe
final class SHA256 {
    private let context: OpaquePointer?

    init() {
        unsafe context = EVP_MD_CTX_new()
        let status = unsafe EVP_DigestInit_ex(context, EVP_sha256(), nil)
        precondition(status == 1, "OpenSSL has no SHA-256")
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    func update(_ bytes: [UInt8]) {
        let status = unsafe bytes.withUnsafeBytes { unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
        precondition(status == 1, "OpenSSL could not go on with a SHA-256")
    }

    /// The digest in hexadecimal digits. Nothing comes after it.
    func hexadecimal() -> String {
        var digest = [UInt8](repeating: 0, count: 32)
        let status = unsafe digest.withUnsafeMutableBufferPointer {
            unsafe EVP_DigestFinal_ex(context, $0.baseAddress, nil)
        }
        precondition(status == 1, "OpenSSL could not end a SHA-256")
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
