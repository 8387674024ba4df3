"""The few magnum types that habitat-sim's documented functions take; anything else is refused, as the bindings do."""


class Vector3:
    def __init__(self, x, y, z):
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in (x, y, z)):
            raise TypeError(f"Vector3({x!r}, {y!r}, {z!r}): incompatible constructor arguments")
        self._values = (float(x), float(y), float(z))

    def __getitem__(self, index):
        return self._values[index]

    def __iter__(self):
        return iter(self._values)


class Vector2i:
    def __init__(self, x, y):
        if type(x) is not int or type(y) is not int:
            raise TypeError(f"Vector2i({x!r}, {y!r}): incompatible constructor arguments")
        self._values = (x, y)

    def __getitem__(self, index):
        return self._values[index]


class Quaternion:
    def __init__(self, vector, scalar):
        if not isinstance(vector, Vector3) or not isinstance(scalar, float):
            raise TypeError(f"Quaternion({vector!r}, {scalar!r}): incompatible constructor arguments")
        self.vector, self.scalar = vector, scalar


class Range3D:
    def __init__(self, low, high):
        self.min, self.max = low, high
