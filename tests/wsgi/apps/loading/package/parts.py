answer = b"package"
