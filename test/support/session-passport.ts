import type { Express, Request } from 'express'
import passport from 'passport'

interface User {
  readonly id: string
  readonly role?: string
}

/** Signs in whoever gives the password, which is the name backwards. */
class ByPassword extends passport.Strategy {
  override readonly name = 'by-password'

  override authenticate(request: Request): void {
    const { user, password, role } = request.body as { user?: string; password?: string; role?: string }
    if (user === undefined || password !== [...user].reverse().join('')) this.fail(401)
    else this.success({ id: user, ...(role === undefined ? {} : { role }) })
  }
}

/** Adds passport to an application that has sessions, with a way in and a way out. */
export function withPassport(app: Express): void {
  const own = new passport.Passport()
  own.use(new ByPassword())
  own.serializeUser((user, done) => done(null, user))
  own.deserializeUser((user: User, done) => done(null, user))
  app.use(own.session())
  app.post('/passport/login', own.authenticate('by-password'), (_request, response) => void response.sendStatus(204))
  app.post('/passport/logout', (request, response, next) => request.logout((error) => (error ? next(error) : response.sendStatus(204))))
}
